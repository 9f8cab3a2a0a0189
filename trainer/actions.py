"""What happens between the windows of steps, each a plain callable."""

import collections
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from trainer import checkpoints
from trainer.data.bad_values import BadValues, Count
from trainer.data.source import Source
from trainer.evaluation import Evaluator
from trainer.loop import Progress, Schedule, Window
from wukong_tf.metrics import SCALARS, of_scalars

METRICS = "metrics.jsonl"
HIGHER_IS_BETTER = ("auc", "group_auc")


class MetricsLog:
    """metrics.jsonl and TensorBoard events: one record, both places.

    Args:
        run_dir: the run directory.
        step: step that the run goes on from; later records are dropped,
            since the steps will be run again.
    """

    def __init__(self, run_dir: str, step: int):
        self._path = os.path.join(run_dir, METRICS)
        self._keep_until(step)
        self._writer = tf.summary.create_file_writer(
            os.path.join(run_dir, "tensorboard")
        )

    def _keep_until(self, step):
        if not os.path.exists(self._path):
            return
        with open(self._path, encoding="utf-8") as file:
            lines = [line for line in file if _step_of(line) <= step]
        beside = f"{self._path}.unfinished"
        with open(beside, "w", encoding="utf-8") as file:
            file.writelines(lines)
        os.replace(beside, self._path)

    def write(self, kind: str, step: int, values: dict[str, Any]):
        """Adds one record; nested values become TensorBoard tags."""
        record = {"step": step, "kind": kind, **_json_ready(values)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        with self._writer.as_default():
            for tag, value in _flat(values, kind):
                tf.summary.scalar(tag, value, step=step)
        self._writer.flush()


def _step_of(line):
    """The step of a record; a torn last line counts as later than any."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def _json_ready(value):
    """NaN and infinities as null, which JSON has."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _flat(values, prefix):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}/{key}")
        elif isinstance(value, int | float):
            yield f"{prefix}/{key}", value


class ShowProgress:
    """A progress bar on a terminal; elsewhere a line every few seconds."""

    LINE_SECONDS = 10.0

    def __init__(self, schedule: Schedule, step: int):
        self._schedule = schedule
        self._terminal = sys.stderr.isatty()
        self._last_line = -math.inf
        self._bar = tqdm.tqdm(
            total=schedule.total_steps,
            initial=step,
            unit="step",
            disable=not self._terminal,
            dynamic_ncols=True,
        )

    def __call__(self, progress: Progress, window: Window):
        """Shows the window."""
        text = (
            f"loss {window.loss:.4f}, "
            f"{window.rows / window.seconds:,.0f} examples/s, "
            f"{100 * window.input_wait:.1f} % waiting for input"
        )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(window.steps)
        now = time.monotonic()
        last = progress.step == self._schedule.total_steps
        late = now - self._last_line >= self.LINE_SECONDS
        if not self._terminal and (late or last):
            self._last_line = now
            log(f"step {progress.step}/{self._schedule.total_steps}: {text}")

    def close(self):
        """Ends the bar."""
        self._bar.close()


class WriteTraining:
    """Records every window.

    Args:
        metrics: where.
        schedule: says the epoch.
        rate: from a step to the learning rate.
        bad: counts bad values, where they are counted.
    """

    def __init__(
        self, metrics: MetricsLog, schedule: Schedule, rate, bad: BadValues
    ):
        self._metrics = metrics
        self._schedule = schedule
        self._rate = rate
        self._bad = bad if isinstance(bad, Count) else None
        self._before: collections.Counter[str] | None = None

    def __call__(self, progress: Progress, window: Window):
        """Records the window."""
        epoch = window.first_step // self._schedule.steps_per_epoch
        values: dict[str, Any] = {
            "epoch": epoch,
            "loss": window.loss,
            "learning_rate": float(self._rate(progress.step - 1)),
            "examples_per_s": window.rows / window.seconds,
            "input_wait": window.input_wait,
        }
        if self._bad is not None:
            if self._before is None:  # those of the run before a stop
                self._before = collections.Counter(progress.bad_values)
            progress.bad_values = dict(self._before + self._bad.counts)
            values["bad_values"] = progress.bad_values
        self._metrics.write("train", progress.step, values)


class Progressive:
    """Metrics of rows that were each scored before they were trained on.

    Written for each window of steps, and for all rows so far.

    Args:
        metrics: where.
        schedule: says where windows end.
        tasks: names of the tasks.
    """

    def __init__(
        self, metrics: MetricsLog, schedule: Schedule, tasks: Sequence[str]
    ):
        self._metrics = metrics
        self._schedule = schedule
        self._tasks = tasks

    def __call__(self, progress: Progress, window: Window):
        """Adds the steps' sums, and writes where a window ends."""
        if window.sums is None:
            return
        state = progress.progressive or {
            "window": np.zeros_like(window.sums).tolist(),
            "lifetime": np.zeros_like(window.sums).tolist(),
            "windows": 0,
        }
        for name in ("window", "lifetime"):
            state[name] = (np.array(state[name]) + window.sums).tolist()
        last = progress.step == self._schedule.total_steps
        if progress.step % self._schedule.window == 0 or last:
            found = {
                task: {
                    name: of_scalars(self._sums(state[name][row]))
                    for name in ("window", "lifetime")
                }
                for row, task in enumerate(self._tasks)
            }
            self._metrics.write("progressive", progress.step, found)
            if progress.step % self._schedule.window and state["windows"]:
                # A short last window says less than the whole one before.
                for task, before in state["metrics"].items():
                    found[task]["window"] = before["window"]
            state["metrics"] = found
            state["windows"] += 1
            state["window"] = np.zeros_like(window.sums).tolist()
            for task, each in found.items():
                log(
                    f"step {progress.step}: progressive {task} "
                    + ", ".join(
                        f"{name} logloss {values['logloss']:.5f}, "
                        f"ne {values['ne']:.5f}"
                        for name, values in each.items()
                    )
                )
        progress.progressive = state

    def _sums(self, values):
        return dict(zip(SCALARS, map(np.float64, values), strict=True))


class Evaluate:
    """Evaluates on the valid split when it is due, and notes the best.

    Args:
        evaluator: scores the split.
        source: the valid split.
        schedule: when it is due.
        metrics: where results are recorded.
        metric: name of the metric that decides.
        task: name of the task whose metric it is.
        patience: evaluations in a row without a better one that end the
            run; 0 never ends it.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        source: Source,
        schedule: Schedule,
        metrics: MetricsLog,
        *,
        metric: str,
        task: str,
        patience: int,
    ):
        self._evaluator = evaluator
        self._source = source
        self._schedule = schedule
        self._metrics = metrics
        self._metric = metric
        self._task = task
        self._patience = patience

    def __call__(self, progress: Progress, window: Window):
        """Evaluates, if it is due."""
        if not self._schedule.evaluates_at(progress.step):
            return
        results, _ = self._evaluator.evaluate(self._source)
        epoch = window.first_step // self._schedule.steps_per_epoch
        self._metrics.write("valid", progress.step, {"epoch": epoch} | results)
        value = results[self._task][self._metric]
        best = is_best(progress.evaluations, self._metric, value)
        progress.evaluations.append(
            {
                "step": progress.step,
                "value": value if math.isfinite(value) else None,
                "best": best,
            }
        )
        progress.stopped_early = patience_is_out(
            progress.evaluations, self._patience
        )
        for task, values in results.items():
            decides = task == self._task
            log(
                f"step {progress.step}: valid {task} auc {values['auc']:.5f}, "
                f"logloss {values['logloss']:.5f}, ne {values['ne']:.5f}, "
                f"calibration {values['calibration']:.4f}"
                + (" (best so far)" if decides and best else "")
                + _undefined(values)
            )
        if progress.stopped_early:
            log(f"step {progress.step}: stopping early")


def _undefined(values) -> str:
    """In words, why the metrics of a split have no AUC."""
    if not math.isnan(values["auc"]):
        return ""
    if not values["rows"]:
        return " - no row has a label"
    return f" - all {values['rows']} rows have one label"


def is_best(
    evaluations: list[dict[str, Any]], metric: str, value: float
) -> bool:
    """Whether `value` beats all earlier evaluations; NaN beats none."""
    sign = 1.0 if metric in HIGHER_IS_BETTER else -1.0
    if not math.isfinite(value):
        return False
    earlier = [e["value"] for e in evaluations if e["value"] is not None]
    return all(sign * value > sign * other for other in earlier)


def evaluations_since_best(evaluations: list[dict[str, Any]]) -> int:
    """Number of evaluations after the best one."""
    flags = [evaluation["best"] for evaluation in evaluations]
    return flags[::-1].index(True) if True in flags else len(flags)


def patience_is_out(evaluations: list[dict[str, Any]], patience: int) -> bool:
    """Whether so many evaluations since the best end the run."""
    return 0 < patience <= evaluations_since_best(evaluations)


class SaveCheckpoint:
    """Saves after every evaluation and whenever the schedule says.

    Args:
        run_dir: the run directory.
        schedule: when one is due.
        arrays: gives canonical names and arrays of the moment.
        keep: newest checkpoints kept beside the best.
        metric: name of the metric that the best is best in.
    """

    def __init__(
        self,
        run_dir: str,
        schedule: Schedule,
        arrays: Callable,
        *,
        keep: int,
        metric: str,
    ):
        self._run_dir = run_dir
        self._schedule = schedule
        self._arrays = arrays
        self._keep = keep
        self._metric = metric
        self._saved: int | None = None

    def __call__(self, progress: Progress, window: Window):
        """Saves, if it is due."""
        del window
        evaluated = bool(progress.evaluations) and (
            progress.evaluations[-1]["step"] == progress.step
        )
        last = progress.step == self._schedule.total_steps
        if evaluated or last or self._schedule.checkpoints_at(progress.step):
            self.save(progress)

    def save(self, progress: Progress):
        """Saves now, unless this step is saved already."""
        if self._saved == progress.step:
            return
        path = checkpoints.save(
            self._run_dir, progress.step, progress.to_dict(), self._arrays()
        )
        self._saved = progress.step
        if progress.evaluations and progress.evaluations[-1]["best"]:
            best = progress.evaluations[-1]
            if best["step"] == progress.step:
                checkpoints.mark_best(
                    self._run_dir, progress.step, self._metric, best["value"]
                )
        checkpoints.prune(self._run_dir, self._keep)
        log(f"saved {path}")


def log(text: str):
    """One line for the person who watches, clear of a progress bar."""
    tqdm.tqdm.write(text, file=sys.stderr)
