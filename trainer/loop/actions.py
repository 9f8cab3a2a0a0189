"""Actions that run between loop chunks, each a plain callable."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import tqdm

from trainer.data.source import Source
from trainer.distribution.agreement import SameFiles
from trainer.loop.evaluator import Evaluator
from trainer.loop.metrics_log import Metrics
from trainer.loop.profiling import Profile
from trainer.loop.progress import Action, LoopChunk, Progress, Schedule
from trainer.loop.rates import Rates
from trainer.loop.records import Progressive, WriteTraining
from trainer.loop.saving import SaveCheckpoint
from trainer.process.console import log
from trainer.settings.training import HIGHER_IS_BETTER


class ShowProgress:
    """Shows a progress bar on a terminal, else logs a line every 10 s."""

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

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Shows the progress."""
        text = (
            f"loss {chunk.loss:.4f}, "
            f"{chunk.rows / chunk.seconds:,.0f} examples/s, "
            f"{100 * chunk.input_wait:.1f} % waiting for input"
        )
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(chunk.steps)
        now = time.monotonic()
        last = progress.step == self._schedule.total_steps
        late = now - self._last_line >= self.LINE_SECONDS
        if not self._terminal and (late or last):
            self._last_line = now
            log(f"step {progress.step}/{self._schedule.total_steps}: {text}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()


class Evaluate:
    """Evaluates on the valid split when due, and records the best result.

    Args:
        evaluator: scores the split.
        source: the valid split.
        schedule: decides when an evaluation is due.
        metrics: receives the results.
        metric: name of the metric that results are compared by.
        task: name of the task whose metric it is.
        patience: number of consecutive evaluations without improvement
            after which training stops; 0 disables early stopping.
        rates: learning rates, which may follow the results.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        source: Source,
        schedule: Schedule,
        metrics: Metrics,
        *,
        metric: str,
        task: str,
        patience: int,
        rates: Rates,
    ):
        self._evaluator = evaluator
        self._source = source
        self._schedule = schedule
        self._metrics = metrics
        self._metric = metric
        self._task = task
        self._patience = patience
        self._rates = rates

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Evaluates if an evaluation is due."""
        if not self._schedule.evaluates_at(progress.step):
            return
        ranks = self._evaluator.ranks
        results, _ = self._evaluator.evaluate(self._source, on_first=ranks)
        epoch = chunk.first_step // self._schedule.steps_per_epoch
        self._metrics.write("valid", progress.step, {"epoch": epoch} | results)
        if measured := ranks.take():
            self._metrics.write("stable_rank", progress.step, measured)
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
        if self._rates.follow(progress.evaluations):
            log(f"step {progress.step}: no improvement, learning rates fall")
        if progress.stopped_early:
            log(f"step {progress.step}: stopping early")


def _undefined(values) -> str:
    """Returns the reason, for the log, why a split has no AUC."""
    if not math.isnan(values["auc"]):
        return ""
    if not values["rows"]:
        return " - no row has a label"
    return f" - all {values['rows']} rows have one label"


def is_best(
    evaluations: list[dict[str, Any]], metric: str, value: float
) -> bool:
    """Returns whether `value` beats all earlier evaluations; NaN never does."""
    if not math.isfinite(value):
        return False
    earlier = [e["value"] for e in evaluations if e["value"] is not None]
    return all(is_better(metric, value, other) for other in earlier)


def is_better(metric: str, value: float, other: float) -> bool:
    """Returns whether `value` of the metric is better than `other`."""
    return value > other if metric in HIGHER_IS_BETTER else value < other


def evaluations_since_best(evaluations: list[dict[str, Any]]) -> int:
    """Returns the number of evaluations after the best one."""
    flags = [evaluation["best"] for evaluation in evaluations]
    return flags[::-1].index(True) if True in flags else len(flags)


def patience_is_out(evaluations: list[dict[str, Any]], patience: int) -> bool:
    """Returns whether patience has run out; a patience of 0 never does."""
    return 0 < patience <= evaluations_since_best(evaluations)


@dataclasses.dataclass(frozen=True)
class Actions:
    """Actions that run between loop chunks, in this order.

    Args:
        check: raises if the run directory is no longer the same.
        same_files: raises if the content of a split's file has changed.
        profile: starts and stops the profiler.
        record: records every loop chunk.
        show: shows the progress. None except on the chief.
        progressive: records metrics of rows scored before being trained on.
        evaluate: evaluates on the valid split. None without one.
        save: saves checkpoints. None except on the chief, or if workers write
            the rows that they own.
    """

    check: Action
    same_files: SameFiles
    profile: Profile
    record: WriteTraining
    show: ShowProgress | None
    progressive: Progressive
    evaluate: Evaluate | None
    save: SaveCheckpoint | None

    def __iter__(self) -> Iterator[Action]:
        every = (getattr(self, f.name) for f in dataclasses.fields(self))
        return (action for action in every if action is not None)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Enters the actions; on exit, finishes output, saves and profile."""
        with contextlib.ExitStack() as stack:
            for action in (self.show, self.save, self.profile):
                if action is not None:
                    stack.enter_context(action)
            yield

    def catch_up(self, progress: Progress, schedule: Schedule):
        """Runs the evaluation that an earlier stop may have interrupted."""
        if self.evaluate is None:
            return
        done = [evaluation["step"] for evaluation in progress.evaluations]
        due = schedule.evaluates_at(progress.step)
        if progress.step and due and progress.step not in done:
            chunk = LoopChunk(max(0, progress.step - 1), 0, 0, 0.0, 0.0, 0.0)
            self.evaluate(progress, chunk)
            if self.save is not None:
                self.save(progress, chunk)
