"""What is recorded of a run: metrics.jsonl, TensorBoard and the log."""

import collections
import errno
import json
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from trainer.console import log
from trainer.distribution.workers import Workers
from trainer.loop import Progress, Schedule, Window
from trainer.placement import host_memory
from wukong_tf import files
from wukong_tf.metrics import SCALARS, of_scalars
from wukong_tf.rows.bad_values import BadValues, Count

METRICS = "metrics.jsonl"
PERCENTILES = (50, 95, 99)
# tf.summary.scalar would need TensorBoard; its events are these.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class="DATA_CLASS_SCALAR",
)


class Metrics(Protocol):
    """Takes records."""

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds one record."""
        ...


class NoMetrics:
    """Takes the records of a worker that is not the chief."""

    def write(self, kind: str, step: int, values: dict[str, Any]):
        """Does nothing: the chief has the same."""


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
        self._pending: list[str] = []  # lines that could not be written yet
        self._failed: set[str] = set()
        self._writer = tf.summary.create_file_writer(
            os.path.join(run_dir, "tensorboard")
        )

    def _keep_until(self, step):
        if not os.path.exists(self._path):
            return
        with open(self._path, "rb") as file:
            lines = [line for line in file if _step_of(line) <= step]
        with files.atomic_path(self._path) as temporary:
            with open(temporary, "wb") as file:
                file.writelines(lines)

    def write(self, kind: str, step: int, values: dict[str, Any]):
        """Adds one record; nested values become TensorBoard tags."""
        record = {"step": step, "kind": kind, **_json_ready(values)}
        self._pending.append(json.dumps(record) + "\n")
        self._try(self._path, self._append)
        self._try("TensorBoard's events", self._summarize, kind, step, values)

    def _append(self):
        """Writes the lines that are due, all of them or none."""
        with open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            data = "".join(self._pending).encode()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise
        self._pending.clear()

    def _summarize(self, kind, step, values):
        with self._writer.as_default():
            for tag, value in _flat(values, kind):
                tf.summary.write(
                    tag,
                    tf.constant(value, tf.float32),
                    step=step,
                    metadata=_SCALAR,
                )
        self._writer.flush()

    def _try(self, what, write, *arguments):
        """Training goes on where a disk is full; what is due waits."""
        try:
            write(*arguments)
        except (OSError, tf.errors.OpError) as error:
            if what not in self._failed:
                text = " ".join(str(error).split())[-300:]
                log(f"{what} cannot be written for now: {text}")
            self._failed.add(what)
            return
        if what in self._failed:
            log(f"{what} can be written again")
            self._failed.discard(what)


def _step_of(line):
    """Returns the step of a record; a broken one is later than any."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf


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


class WriteTraining:
    """Records every window.

    Args:
        metrics: where.
        schedule: says the epoch.
        rate: from a step to the learning rate.
        bad: counts bad values, where they are counted.
        workers: tell each other how they fare.
    """

    def __init__(
        self,
        metrics: Metrics,
        schedule: Schedule,
        rate,
        bad: BadValues,
        workers: Workers,
    ):
        self._metrics = metrics
        self._workers = workers
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
            **worker_figures(window),
        }
        of_all = self._workers.gather(
            {
                "figures": {
                    "examples_per_s": window.local_rows / window.seconds,
                    "input_wait": window.input_wait,
                    **worker_figures(window),
                },
                "bad": self._bad and dict(self._bad.counts),
            }
        )
        if len(of_all) > 1:
            values["workers"] = {
                str(number): each["figures"]
                for number, each in enumerate(of_all)
            }
        if self._bad is not None:
            if self._before is None:  # those of the run before a stop
                self._before = collections.Counter(progress.bad_values)
            counts = self._before.copy()
            for each in of_all:
                counts.update(each["bad"])
            progress.bad_values = dict(counts)
            values["bad_values"] = progress.bad_values
        self._metrics.write("train", progress.step, values)


def worker_figures(window: Window) -> dict[str, Any]:
    """How one worker fared: step times in ms, shares of time, memory."""
    found: dict[str, Any] = {}
    if window.times is not None and len(window.times.steps):
        found["step_ms"] = {
            f"p{percent}": window.times.milliseconds(percent)
            for percent in PERCENTILES
        }
        if window.times.exchange is not None:
            found["all_reduce"] = window.times.exchange / window.seconds
    found["memory_bytes"] = host_memory.resident_bytes()
    return found


class Progressive:
    """Metrics of rows that were each scored before they were trained on.

    Written for each window of steps, and for all rows so far.

    Args:
        metrics: where.
        schedule: says where windows end.
        tasks: names of the tasks.
    """

    def __init__(
        self, metrics: Metrics, schedule: Schedule, tasks: Sequence[str]
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
