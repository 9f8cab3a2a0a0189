"""When the steps of a window began, and what they waited for."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

ASKED, GOT, SUMMING, SUMMED = range(4)


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of the steps of a window.

    Args:
        steps: of each step, float64 [steps].
        input_wait: spent waiting for input, of all steps together.
        exchange: spent summing gradients over replicas, and waiting for
            the others to do so; None where it was not measured.
    """

    steps: np.ndarray
    input_wait: float
    exchange: float | None

    def milliseconds(self, percent: float) -> float:
        """A percentile of the steps' times."""
        return 1000 * float(np.percentile(self.steps, percent))


class StepClock:
    """Notes the host's time whenever a step's graph comes by.

    The host's clock, since `tf.timestamp` refuses to run where operations
    must be deterministic.

    Args:
        replicas: of this worker, which each note when they sum. Defaults
            to 1.

    Attributes:
        last: when a step last began or ended something.
        running: whether a window of steps runs.
    """

    def __init__(self, replicas: int = 1):
        self._replicas = replicas
        self.start()
        self.running = False

    def start(self):
        """Begins a window."""
        self._began: list[float] = []
        self._since = [0.0] * 4
        self._input = 0.0
        self._exchange: float | None = None
        self.last = time.perf_counter()
        self.running = True

    def mark(self, what: int, *after) -> tf.Operation:
        """An operation that notes the time once `after` are computed.

        Args:
            what: ASKED or GOT a batch, SUMMING or SUMMED gradients.
            *after: tensors.
        """
        # Values of a device are awaited, not only what computes them.
        ready = [tf.reshape(each, [-1])[:1] for each in after]
        return tf.numpy_function(
            lambda *_: self._note(what), ready, tf.float64
        ).op

    def _note(self, what):
        now = self.last = time.perf_counter()
        self._since[what] = now
        if what == ASKED:
            self._began.append(now)
        elif what == GOT:
            self._input += now - self._since[ASKED]
        elif what == SUMMED:
            took = (now - self._since[SUMMING]) / self._replicas
            self._exchange = (self._exchange or 0.0) + took
        return np.float64(now)

    def end(self) -> Times:
        """Ends the window."""
        self.running = False
        ends = np.array([*self._began, time.perf_counter()])
        return Times(np.diff(ends), self._input, self._exchange)
