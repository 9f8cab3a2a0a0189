"""Makes signals end a program well, from its first line to its last.

It imports nothing that takes long: `trainer.main` installs it first.
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
    """SIGTERM, Ctrl-C and SIGHUP as a wish to stop.

    Used as a context, around what must end in order, signals are only noted,
    however many come; called, it returns whether one did. Outside of such a
    context, an installed one ends the process with code 75 at once: what is
    being written stays invisible, as after kill -9. Once `settle` was
    called, signals change no exit code. A signal that was ignored when the
    program began, as by nohup, stays so.

    What is said is said by a thread; a handler runs between any two
    instructions, and must not write.

    Attributes:
        received: the first signal that came, or None.
        noted: what is said of a signal that is noted.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self.noted = "stopping after the steps in hand"
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
        """Keeps the exit code, which is decided, whatever signals come."""
        self._settled = True

    def disarm(self) -> None:
        """Lets signals end the process at once, until `arm`.

        For a call that may wait without a bound and holds Python's lock:
        neither a handler nor a thread could heed them.
        """
        if self._pipe is not None:
            for number in self._before:
                signal.signal(number, signal.SIG_DFL)

    def arm(self) -> None:
        """Takes signals back from whoever else handles them by now.

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
        said = False
        while True:
            number = ord(os.read(pipe, 1))
            if number not in SIGNALS or self._settled:
                continue
            name = signal.Signals(number).name
            if not self._noting:
                self._say(f"{name}: stopped; the same command goes on")
                os._exit(EXIT_RESUME)
            if not said:
                said = True
                self._say(f"{name}: {self.noted}")

    def _say(self, text):
        with contextlib.suppress(Exception):  # it may still be importing
            from trainer import console

            console.log(text, of_each=True)
            console.drain()


def interrupt_once() -> None:
    """Makes the first of SIGNALS a KeyboardInterrupt, and ignores the rest.

    For programs that clean up after themselves where they are interrupted.
    """
    heeded = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]

    def ignore(number, frame):
        # SIG_IGN would have Python report those that came already.
        pass

    def interrupt(number, frame):
        for each in heeded:
            signal.signal(each, ignore)
        raise KeyboardInterrupt

    for each in heeded:
        signal.signal(each, interrupt)
    _ignored_at_the_end()


def open_standard_streams() -> None:
    """Opens /dev/null for each of the standard streams that is closed.

    A file opened later would take its number, and with it all that
    libraries write to that stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


@functools.cache
def _ignored_at_the_end():
    """Has signals ignored once Python would leave them to the system.

    It does so before it takes itself down, which takes a while.
    """
    atexit.register(_ignore)


def _ignore():
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


STOP = StopSignal()
