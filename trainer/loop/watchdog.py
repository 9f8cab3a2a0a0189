"""Prints the stacks of this process when a step hangs."""

import sys
import threading
import traceback

from trainer.loop.step_clock import StepClock
from trainer.process.console import log


class Watchdog:
    """A context in which a step that takes too long is reported.

    Every worker has its own, so that each prints its stacks if all of them
    wait for each other. It keeps watching, and may report again.

    Args:
        clock: the clock of the steps.
        timeout_s: seconds without a step; 0 disables the watchdog.
        worker: index of this worker.
    """

    def __init__(self, clock: StepClock, timeout_s: float, worker: int):
        self._clock = clock
        self._timeout_s = timeout_s
        self._worker = worker
        self._reported = clock.last
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self):
        if self._timeout_s:
            self._thread = threading.Thread(
                target=self._watch, name="watchdog", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(self, *exception):
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self):
        while not self._ended.wait(min(1.0, self._timeout_s / 4)):
            self.look()

    def look(self):
        """Prints the stacks if no step has ended within the timeout."""
        now = self._clock.now()
        if now - max(self._clock.last, self._reported) < self._timeout_s:
            return
        self._reported = now
        if self._clock.running:  # and not evaluating or saving
            log(
                f"worker {self._worker}: no step for {self._timeout_s:g} s "
                f"(--hang_timeout_s); the stacks of its threads:\n{_stacks()}",
                of_each=True,
            )


def _stacks() -> str:
    """Returns the stacks of all threads.

    faulthandler would write them while holding the GIL, and so block the
    process if nobody reads the other end of the pipe.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"thread {names.get(number, number)}:\n"
        + "".join(traceback.format_stack(frame))
        for number, frame in sys._current_frames().items()
    )
