"""Profiles a range of steps for TensorBoard."""

import os

import tensorflow as tf

from trainer.loop.progress import LoopChunk, Progress
from trainer.process.console import log
from wukong_tf.errors import one_line


class Profile:
    """Profiles the loop chunks between two steps.

    Args:
        run_dir: the run directory; profiles are written to its tensorboard/.
        steps: (first step, last step + 1), or None for no profile.
        worker: number of this worker.
    """

    def __init__(
        self, run_dir: str, steps: tuple[int, int] | None, worker: int
    ):
        self._run_dir = run_dir
        self._folder = os.path.join(run_dir, "tensorboard")
        self._first, self._past = steps or (0, 0)
        self._worker = worker
        self._running = False

    def begin(self, step: int):
        """Starts the profiler if `step` is in the range."""
        if not self._running and self._first <= step < self._past:
            tf.profiler.experimental.start(self._folder)
            self._running = True

    def __call__(self, progress: Progress, chunk: LoopChunk):
        """Stops or starts the profiler if due."""
        del chunk
        if self._running and progress.step >= self._past:
            self._end()
        self.begin(progress.step)

    def _end(self):
        self._running = False
        what = f"profile of steps {self._first} to {self._past - 1}"
        try:
            # A directory that was deleted must not be recreated.
            tf.profiler.experimental.stop(save=os.path.isdir(self._run_dir))
            text = f"{what} in {self._folder}"
        except (OSError, tf.errors.OpError) as error:  # such as a full disk
            text = f"the {what} cannot be written: {one_line(error)}"
        log(f"worker {self._worker}: {text}", of_each=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._running:
            self._end()
