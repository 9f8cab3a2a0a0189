"""Handles signals that ask a program to stop, from its start to its end.

It imports nothing slow, since `trainer.main` installs it first.
"""

import atexit
import contextlib
import functools
import os
import signal
import threading

EXIT_RESUME = 75  # sysexits' EX_TEMPFAIL: try again
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignal:
    """Treats SIGTERM, Ctrl-C and SIGHUP as requests to stop.

    Within its context, around code that must end in order, signals are only
    recorded, however many come; calling it returns whether one did. Outside
    of the context, once installed, it ends the process with code 75 at once:
    unfinished files stay invisible, as after kill -9. After `settle`, signals
    do not change the exit code. A signal that was ignored when the program
    started, as by nohup, stays ignored.

    Messages are written by a thread, since a handler runs between any two
    instructions and must not write.

    Attributes:
        received: the first signal that came, or None.
        noted: message on a signal that is only recorded.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.noted = "stopping after the current steps"
        self._noting = 0
        self._settled = False
        self._before: dict = {}
        self._pipe: tuple[int, int] | None = None

    def __call__(self) -> bool:
        """Returns whether a signal came."""
        return self.received is not None

    def install(self) -> None:
        """Handles signals from now on, to the end of the process."""
        open_standard_streams()
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, end == self._pipe[0])
        self._handle()
        _ignored_at_the_end()
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(
            target=self._watch, args=self._pipe[:1], name="signals", daemon=True
        ).start()

    def settle(self) -> None:
        """Keeps the exit code from now on, whatever signals come."""
        self._settled = True

    def disarm(self) -> None:
        """Lets signals end the process at once, until `arm`.

        For a call that may wait forever and holds the GIL: neither a handler
        nor a thread could run then.
        """
        if self._pipe is not None:
            for number in self._before:
                signal.signal(number, signal.SIG_DFL)

    def arm(self) -> None:
        """Handles signals again, replacing any other handlers.

        TensorFlow's coordination service takes SIGTERM when it starts.
        """
        if self._pipe is not None:
            self._handle()

    def __enter__(self):
        if not self._noting:
            self._handle()
        self._noting += 1
        return self

    def __exit__(self, *exception):
        self._noting -= 1
        if not self._noting and self._pipe is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _handle(self):
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self.note)

    def note(self, number: int, frame=None) -> None:
        """Handles a signal: the first one is `received`."""
        if self.received is None:
            self.received = signal.Signals(number)

    def _watch(self, pipe):
        reported = False
        while True:
            number = ord(os.read(pipe, 1))
            if number not in SIGNALS or self._settled:
                continue
            name = signal.Signals(number).name
            if not self._noting:
                self._say(f"{name}: stopped; the same command resumes")
                os._exit(EXIT_RESUME)
            if not reported:
                reported = True
                self._say(f"{name}: {self.noted}")

    def _say(self, text):
        with contextlib.suppress(Exception):  # imports may be unfinished
            from trainer.process import console

            console.log(text, of_each=True)
            console.drain()


def interrupt_once() -> None:
    """Makes the first of SIGNALS a KeyboardInterrupt, and ignores the rest.

    For programs that clean up if they are interrupted.
    """
    handled = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]

    def ignore(number, frame):
        # With SIG_IGN, Python would report signals already received.
        pass

    def interrupt(number, frame):
        for other in handled:
            signal.signal(other, ignore)
        raise KeyboardInterrupt

    for number in handled:
        signal.signal(number, interrupt)
    _ignored_at_the_end()


def open_standard_streams() -> None:
    """Opens /dev/null for each standard stream that is closed.

    Otherwise a file opened later would get its descriptor, and receive all
    that libraries write to that stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor


@functools.cache
def _ignored_at_the_end():
    """Ignores signals at exit, when Python restores their default actions.

    Python does so before its own shutdown, which takes a while.
    """
    atexit.register(_ignore)


def _ignore():
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


STOP = StopSignal()
