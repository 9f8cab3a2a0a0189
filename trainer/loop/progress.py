"""The progress of a run, a chunk of its loop, and its schedule."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.loop.step_clock import Times
from trainer.settings import Training


@dataclasses.dataclass
class Progress:
    """Progress of a run, saved in its checkpoints.

    Args:
        step: training steps done.
        evaluations: each evaluation's step, metric value and whether it was
            the best so far, oldest first.
        stopped_early: whether patience ran out.
        rows: rows trained on.
        seconds: wall time of the steps, without evaluations.
        input_seconds: part of it spent waiting for input.
        bad_values: bad values by column that were read as missing.
        progressive: state of `records.Progressive`.
        checked_step: the last step at which all files were verified to be
            those of the run; later steps may have to be discarded.
        init: the run that gave the initial weights: its name, id, step and
            the rows its weights were trained on. {} if none did, None if
            that is not recorded, as in older versions.
    """

    step: int = 0
    evaluations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped_early: bool = False
    rows: int = 0
    seconds: float = 0.0
    input_seconds: float = 0.0
    bad_values: dict[str, int] = dataclasses.field(default_factory=dict)
    progressive: dict[str, Any] = dataclasses.field(default_factory=dict)
    checked_step: int = 0
    init: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the progress as JSON values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class LoopChunk:
    """Results of up to `steps_per_loop` steps between returns to the host.

    Args:
        first_step: step at which the chunk begins.
        steps: number of steps.
        rows: rows trained on.
        loss: mean loss of its rows.
        seconds: wall time.
        input_wait: share of that time spent waiting for input.
        sums: scalar sums of each task over its rows, each scored before it
            was trained on, [tasks, sums]. Defaults to None, not scored.
        times: times of the steps. Defaults to None, none.
        local_rows: rows that this worker trained on. Defaults to 0.
    """

    first_step: int
    steps: int
    rows: int
    loss: float
    seconds: float
    input_wait: float
    sums: np.ndarray | None = None
    times: Times | None = None
    local_rows: int = 0


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Steps at which control returns to the host.

    Args:
        total_steps: the run's last step.
        steps_per_epoch: batches per epoch.
        steps_per_loop: maximum steps before control returns to the host.
        eval_every: steps between evaluations; 0 for once per epoch. The
            last step is always followed by one.
        checkpoint_every: steps between checkpoints; 0 for only those after
            evaluations.
        window: steps per window of progressive evaluation; 0 for none.
        also: further steps at which control returns.
    """

    total_steps: int
    steps_per_epoch: int
    steps_per_loop: int
    eval_every: int = 0
    checkpoint_every: int = 0
    window: int = 0
    also: tuple[int, ...] = ()

    def next_stop(self, step: int) -> int:
        """Returns the next step at which control returns to the host."""
        periods = (
            self.steps_per_loop,
            self.eval_every or self.steps_per_epoch,
            self.checkpoint_every,
            self.window,
        )
        stops = [self.total_steps]
        stops += [(step // every + 1) * every for every in periods if every]
        stops += [other for other in self.also if other > step]
        return min(stops)

    def evaluates_at(self, step: int) -> bool:
        """Returns whether an evaluation is due once `step` steps are done."""
        every = self.eval_every or self.steps_per_epoch
        return step == self.total_steps or step % every == 0

    def describe(self, *, evaluates: bool) -> str:
        """Returns a line on the steps of the run and, if any, evaluations."""
        steps = f"{self.total_steps:,} steps, {self.steps_per_epoch:,} an epoch"
        if not evaluates:
            return steps
        every = self.eval_every or self.steps_per_epoch
        return f"{steps}; evaluated every {every:,} steps and after the last"

    def checkpoints_at(self, step: int) -> bool:
        """Returns whether a checkpoint is due once `step` steps are done."""
        every = self.checkpoint_every
        return bool(every) and step % every == 0


# Points of the learning curves of a run of one epoch.
EVALUATIONS_OF_ONE_EPOCH = 5


def eval_every(training: Training, steps_per_epoch: int) -> int:
    """Returns the steps between evaluations; 0 for once per epoch."""
    if training.eval_every_steps or training.epochs > 1:
        return training.eval_every_steps
    return -(-steps_per_epoch // EVALUATIONS_OF_ONE_EPOCH)


def make_schedule(
    num_rows: int,
    training: Training,
    profile: tuple[int, int] | None = None,
) -> Schedule:
    """Returns the schedule of a run; control also returns at `profile`.

    Args:
        num_rows: number of train rows.
        training: the settings of training.
        profile: steps at which the profiler starts and stops. Defaults to
            None, no profile.
    """
    window = 0
    if training.eval == "progressive":
        window = -(-training.progressive_window_rows // training.batch_size)
    per_epoch = -(-num_rows // training.batch_size)
    total = training.epochs * per_epoch
    return Schedule(
        total_steps=min(total, training.max_steps or total),
        steps_per_epoch=per_epoch,
        steps_per_loop=training.steps_per_loop,
        eval_every=eval_every(training, per_epoch),
        checkpoint_every=training.checkpoint_every_steps,
        window=window,
        also=profile or (),
    )


Action = Callable[[Progress, LoopChunk], None]
