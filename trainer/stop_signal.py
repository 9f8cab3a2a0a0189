"""Turns SIGTERM and Ctrl-C into a wish to stop at the next step boundary."""

import signal
import sys


class StopSignal:
    """A context in which SIGTERM and SIGINT only note that they came.

    Python sees a signal between two windows of steps; a second SIGINT seen
    there interrupts without saving. Called, it tells whether a signal came.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict = {}

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.received is not None

    def __enter__(self):
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        sys.stderr.write(
            f"\n{self.received.name}: stopping after the steps in hand\n"
        )
