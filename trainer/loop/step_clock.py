"""Times the steps of a loop chunk, their input and their all-reduce."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

ASKED, GOT, SUMMING, SUMMED = range(4)


@dataclasses.dataclass(frozen=True)
class Times:
    """Times of the steps of a loop chunk, in seconds.

    Args:
        steps: time of each step, float64 [steps].
        input_wait: time that all steps together waited for input.
        exchange: time spent summing gradients over replicas, and waiting
            for the others to do so; None if not measured.
    """

    steps: np.ndarray
    input_wait: float
    exchange: float | None

    def milliseconds(self, percent: float) -> float:
        """Returns a percentile of the step times in milliseconds."""
        return 1000 * float(np.percentile(self.steps, percent))


class StepClock:
    """Records the host's time at marked points of a step's graph.

    The host's clock is used since `tf.timestamp` cannot run if operations
    must be deterministic.

    Args:
        replicas: replicas of this worker, each of which marks its sums.
            Defaults to 1.
        now: returns the time in seconds. Defaults to `time.perf_counter`.
        on_first: called once, after the first step, with its seconds.
            Defaults to None.

    Attributes:
        last: time of the last mark, in seconds of `now`.
        running: whether a chunk is running.
    """

    def __init__(
        self,
        replicas: int = 1,
        now: Callable[[], float] = time.perf_counter,
        on_first: Callable[[float], None] | None = None,
    ):
        self._replicas = replicas
        self.now = now
        self._on_first = on_first
        self.start()
        self.running = False

    def start(self):
        """Begins a chunk."""
        self._began: list[float] = []
        self._since = [0.0] * 4
        self._input = 0.0
        self._exchange: float | None = None
        self.last = self.now()
        self.running = True

    def mark(self, what: int, *after) -> tf.Operation:
        """Returns an operation that records the time once `after` is computed.

        Args:
            what: ASKED or GOT a batch, SUMMING or SUMMED gradients.
            *after: tensors.
        """
        # Reading a value waits for the device, not only for the kernel launch.
        ready = [tf.reshape(tensor, [-1])[:1] for tensor in after]
        return tf.numpy_function(
            lambda *_: self._note(what), ready, tf.float64
        ).op

    def _note(self, what):
        now = self.last = self.now()
        self._since[what] = now
        if what == ASKED:
            self._began.append(now)
            self._end_first(now)
        elif what == GOT:
            self._input += now - self._since[ASKED]
        elif what == SUMMED:
            took = (now - self._since[SUMMING]) / self._replicas
            self._exchange = (self._exchange or 0.0) + took
        return np.float64(now)

    def end(self) -> Times:
        """Ends the chunk and returns its times."""
        self.running = False
        ends = np.array([*self._began, self.now()])
        self._end_first(ends[-1], 1)
        return Times(np.diff(ends), self._input, self._exchange)

    def _end_first(self, now, steps=2):
        """Calls `on_first` if the first of `steps` steps begun has ended."""
        if self._on_first is not None and len(self._began) == steps:
            on_first, self._on_first = self._on_first, None
            on_first(now - self._began[0])
