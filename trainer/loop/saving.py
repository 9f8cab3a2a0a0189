"""Saves checkpoints when they are due."""

import contextlib
import functools
from collections.abc import Callable, Sequence

from trainer.checkpoints.shards import ShardWriter
from trainer.checkpoints.writer import (
    LAST_TRIES,
    CheckpointWriter,
    Retention,
)
from trainer.distribution.workers import Workers
from trainer.loop.metrics_log import Metrics
from trainer.loop.progress import LoopChunk, Progress, Schedule
from trainer.process.console import log
from trainer.settings import Settings
from wukong_tf.errors import RunError, WukongError
from wukong_tf.runs.arrays import NamedArray


def make_writer(
    settings: Settings, check: Callable[[], None]
) -> CheckpointWriter:
    """Returns the writer of a run's checkpoints, for the chief.

    Args:
        settings: the settings of the run.
        check: raises RunError if the run directory is another one by now.
    """
    training, machine = settings.training, settings.machine
    return CheckpointWriter(
        settings.run.directory,
        Retention(
            training.keep_checkpoints,
            training.keep_checkpoint_every_steps,
            training.early_stopping_metric,
        ),
        log,
        in_background=machine.async_checkpoints,
        retry_s=machine.checkpoint_retry_s,
        check=check,
    )


def make_shard_writer(
    settings: Settings, slots: Sequence[NamedArray], workers: Workers
) -> ShardWriter | None:
    """Returns the writer of this worker's rows; None without sharded tables."""
    if not any(hasattr(slot.variable, "shards") for slot in slots):
        return None
    return ShardWriter(
        settings.run.directory,
        slots,
        workers.index,
        workers.gather,
        log,
        settings.machine.checkpoint_retry_s,
    )


class SaveCheckpoint:
    """Saves after every evaluation and whenever the schedule requires it.

    Args:
        writer: writes the checkpoints. None except on the chief.
        schedule: decides when a checkpoint is due.
        arrays: returns the canonical names and current arrays.
        metrics: receives a record of each checkpoint written.
        shards: writes the rows of sharded tables, on all workers together.
            Defaults to None, there are none.
    """

    def __init__(
        self,
        writer: CheckpointWriter | None,
        schedule: Schedule,
        arrays: Callable,
        metrics: Metrics,
        shards: ShardWriter | None = None,
    ):
        self._writer = writer
        self._schedule = schedule
        self._arrays = arrays
        self._metrics = metrics
        self._shards = shards
        self._begun: int | None = None

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Saves if a checkpoint is due."""
        del chunk
        evaluated = bool(progress.evaluations) and (
            progress.evaluations[-1]["step"] == progress.step
        )
        last = progress.step == self._schedule.total_steps
        last = last or progress.stopped_early
        if evaluated or last or self._schedule.checkpoints_at(progress.step):
            self.save(progress, last=last)
        self._record()

    def save(self, progress: Progress, *, last: bool = False):
        """Starts saving, unless this step is saved already.

        Args:
            progress: the progress of the run.
            last: whether no later checkpoint follows. Defaults to False.

        Raises:
            RunError: a worker could not write its rows of the last one.
        """
        if self._begun == progress.step:
            return
        self._begun = progress.step
        arrays = self._arrays
        if self._shards is not None:
            written = self._shards.write(
                progress.step, LAST_TRIES if last else 1
            )
            if written is None:
                self._begun = None
                if last:
                    raise RunError(
                        f"the checkpoint of step {progress.step}, the last "
                        "one, could not be written. Earlier checkpoints are "
                        "intact."
                    )
                return
            arrays = functools.partial(self._shards.replaced, written, arrays)
        best = None
        if progress.evaluations and progress.evaluations[-1]["best"]:
            newest = progress.evaluations[-1]
            if newest["step"] == progress.step:
                best = newest["value"]
        if self._writer is not None:
            self._writer.save(progress.step, progress.to_dict(), arrays, best)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        # After an error, a write in progress is finished but not retried.
        with (
            contextlib.suppress(WukongError)
            if kind
            else (contextlib.nullcontext())
        ):
            if self._writer is not None:
                self._writer.close(tries=0 if kind else LAST_TRIES)
        self._record()

    def _record(self):
        if self._writer is None:
            return
        for saved in self._writer.take_saved():
            self._metrics.write(
                "checkpoint",
                saved.step,
                {
                    "bytes": saved.bytes,
                    "seconds": saved.seconds,
                    "training_waited": saved.waited,
                },
            )
