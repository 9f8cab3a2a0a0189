"""Writes checkpoints in the background, and retries if writing fails."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from trainer.checkpoints import store
from trainer.checkpoints.arrays import WrittenShards
from trainer.placement.host_memory import available_bytes
from wukong_tf.errors import RunError
from wukong_tf.runs.arrays import StoredRows

# Largest share of the available memory that a copy of the weights may take.
COPY_SHARE = 0.7
LAST_TRIES = 3  # tries once training has ended


@dataclasses.dataclass(frozen=True)
class Retention:
    """Rules that decide which checkpoints are kept; the best always is.

    Args:
        newest: number of newest checkpoints to keep.
        every: also keeps steps that are a multiple of it; 0 for none.
        metric: name of the metric that decides the best.
    """

    newest: int
    every: int
    metric: str


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint that was written.

    Args:
        path: its directory.
        step: its step.
        bytes: its size.
        seconds: time that writing it took.
        waited: seconds that training waited for it.
    """

    path: str
    step: int
    bytes: int
    seconds: float
    waited: float


@dataclasses.dataclass
class _Job:
    step: int
    state: dict[str, Any]
    arrays: Mapping[str, np.ndarray] | Iterable[tuple[str, StoredRows]]
    best: float | None
    waited: float = 0.0

    def pairs(self):
        arrays = self.arrays
        return arrays.items() if isinstance(arrays, Mapping) else arrays


class CheckpointWriter:
    """Writes checkpoints in a thread, from a copy of the weights.

    Training waits while the weights are copied, not while they are written.
    If a copy does not fit into memory, training waits for the writing. A
    checkpoint that could not be written, as on a full disk, is retried every
    `retry_s` seconds until a newer one replaces it.

    Args:
        run_dir: the run directory.
        retention: rules that decide which checkpoints are kept.
        log: called with a line on every checkpoint, from any thread.
        in_background: whether to write during training. Defaults to True.
        retry_s: seconds between retries. Defaults to 30.
        check: called before every write; raises RunError if `run_dir` is no
            longer that of the run. Defaults to doing nothing.
    """

    def __init__(
        self,
        run_dir: str,
        retention: Retention,
        log: Callable[[str], None],
        *,
        in_background: bool = True,
        retry_s: float = 30.0,
        check: Callable[[], None] = lambda: None,
    ):
        self._run_dir = run_dir
        self._retention = retention
        self._log = log
        self._in_background = in_background
        self._retry_s = retry_s
        self._check = check
        self._changed = threading.Condition()
        self._job: _Job | None = None  # to be written or retried
        self._writing = False
        self._failing = False  # the job waits for a retry
        self._closing = False
        self._error: Exception | None = None
        self._failed: RunError | None = None
        self._saved: list[Saved] = []
        self._thread: threading.Thread | None = None

    def save(
        self,
        step: int,
        state: dict[str, Any],
        arrays: Callable[[], Iterable[tuple[str, StoredRows]]],
        best: float | None = None,
    ):
        """Starts saving a step.

        Args:
            step: training steps done.
            state: the trainer's state, JSON values.
            arrays: returns the canonical names and current arrays.
            best: the metric's value if this is the best step so far.
                Defaults to None, it is not.

        Raises:
            TrainingError: the weights of this or the previous checkpoint
                are not finite.
        """
        began = time.perf_counter()
        self._wait_for_writing()
        self._failed = None  # superseded by this checkpoint
        current = list(arrays())
        job = _Job(step, state, current, best)
        copies = self._copies(current)
        if copies is not None:
            job.arrays = copies
            job.waited = time.perf_counter() - began
            with self._changed:
                self._replace(job)
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="checkpoints", daemon=True
                    )
                    self._thread.start()
                self._changed.notify_all()
            return
        with self._changed:
            self._replace(None)
        # Not retried later, when the weights are those of another step.
        self._failed = self._persist(job, LAST_TRIES, began)
        if self._failed is not None:
            self._log(f"{self._failed} It is not retried.")

    def _persist(self, job, tries, stalled_since=None) -> RunError | None:
        """Writes now; returns the last error if all tries failed."""
        failed = None
        for left in range(tries - 1, -1, -1):
            try:
                self._write(job, stalled_since)
                return None
            except RunError as error:
                failed = error
                if left:
                    self._log(f"{error} Retrying in {self._retry_s:g} s.")
                    time.sleep(self._retry_s)
        return failed

    def take_saved(self) -> list[Saved]:
        """Returns the checkpoints written since the last call."""
        with self._changed:
            saved, self._saved = self._saved, []
        return saved

    def close(self, *, tries: int = LAST_TRIES):
        """Waits until all checkpoints are written.

        Raises:
            RunError: the last one could not be written in `tries` tries.
            TrainingError: its weights are not finite.
        """
        self._wait_for_writing()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        job, self._job = self._job, None
        if job is not None:
            self._failed = self._persist(job, tries)
        self._raise()
        if self._failed is not None:
            raise self._failed

    def _raise(self):
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _wait_for_writing(self):
        with self._changed:
            self._changed.wait_for(
                lambda: self._failing or not (self._writing or self._job)
            )
        self._raise()

    def _replace(self, job):
        if self._job is not None:
            self._log(
                f"the checkpoint of step {self._job.step} is replaced by a "
                "newer one."
            )
        self._job, self._failing = job, False

    def _copies(self, arrays):
        """Returns copies of arrays by name, or None if memory is too small."""
        read = [a for _, a in arrays if not isinstance(a, WrittenShards)]
        size = sum(
            int(np.prod(a.shape, dtype=np.int64)) * a.dtype.itemsize
            for a in read
        )
        free = available_bytes()
        fits = free is None or size <= COPY_SHARE * free
        if not self._in_background or not fits:
            return None
        try:
            return {
                name: array
                if isinstance(array, WrittenShards)
                else np.asarray(array)
                for name, array in arrays
            }
        except MemoryError:  # such as from a limit on the process
            return None

    def _run(self):
        """Writes jobs until closed; the target of the thread."""
        while True:
            with self._changed:
                if self._failing:
                    self._changed.wait_for(
                        functools.partial(self._is_not, self._job),
                        self._retry_s,
                    )
                else:
                    self._changed.wait_for(lambda: self._job or self._closing)
                job = self._job
                if job is None or (self._closing and self._failing):
                    return
                self._job, self._writing, self._failing = None, True, False
            failed = False
            try:
                self._write(job)
            except RunError as error:
                failed = True
                self._log(f"{error} Retrying in {self._retry_s:g} s.")
            except Exception as error:  # re-raised in the main thread
                self._error = error
            with self._changed:
                if failed and self._job is None:
                    self._job, self._failing = job, True
                self._writing = False
                self._changed.notify_all()

    def _is_not(self, failed):
        """Returns whether to stop waiting for a retry of the failed job."""
        return self._closing or self._job is not failed

    def _write(self, job, stalled_since=None):
        began = time.perf_counter()
        self._check()
        path, size = store.save(self._run_dir, job.step, job.state, job.pairs())
        keep = self._retention
        try:
            if job.best is not None:
                store.mark_best(self._run_dir, job.step, keep.metric, job.best)
        finally:  # may free the disk space that was missing
            store.prune(self._run_dir, keep.newest, keep.every, self._log)
        seconds = time.perf_counter() - began
        waited = job.waited
        if stalled_since is not None:
            waited = time.perf_counter() - stalled_since
        with self._changed:
            self._saved.append(Saved(path, job.step, size, seconds, waited))
        self._log(
            f"saved {path}: {size / 1e6:,.1f} MB in {seconds:.2f} s; training "
            f"waited {waited:.2f} s"
        )
