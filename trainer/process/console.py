"""Console output that neither fails nor blocks.

Once a program has called `guard`, printing neither raises nor waits for the
reader: a closed terminal, a full disk behind a redirection or a pipe that
nobody reads cost lines, and nothing else.
"""

import atexit
import contextlib
import errno
import math
import os
import queue
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

import tqdm

from trainer.process.stop_signal import STOP, open_standard_streams

_WAITING_TEXTS = 10_000
_quiet = False


class Console:
    """A text stream that a thread of its own writes.

    Text that cannot be written is dropped.

    Args:
        stream: a stream with a file descriptor.
        waits: whether `write` blocks if the queue is full; otherwise text is
            dropped, and a line says so once there is room again.

    Attributes:
        error: the last error for which text was dropped, except EPIPE
            (nobody reads any more); None if there was none.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: TextIO, waits: bool):
        stream.flush()
        self._waits = waits
        self._stream = stream
        self.error: OSError | None = None
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self):
        self._texts: queue.Queue[bytes] = queue.Queue(_WAITING_TEXTS)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._dropped = 0

    def write(self, text: str) -> int:
        """Queues text; returns its length, as streams do."""
        try:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(
                        target=self._run, name="console", daemon=True
                    )
                    thread.start()
                    self._thread = thread
            data = text.encode(self.encoding, self.errors)
            self._texts.put(data, block=self._waits)
        except (queue.Full, RuntimeError):  # full, or no thread can start
            self._dropped += 1
        return len(text)

    def flush(self) -> None:
        """Does nothing; `drain` waits."""

    def isatty(self) -> bool:
        """Returns whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Returns the stream's descriptor."""
        return self._stream.fileno()

    def drain(
        self,
        timeout_s: float = 2.0,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Waits until all text is written, `timeout_s` passed or `stop()`."""
        end = time.monotonic() + timeout_s
        while self._texts.unfinished_tasks and time.monotonic() < end:
            if stop():
                return
            time.sleep(0.005)

    def _run(self):
        while True:
            data = self._texts.get()
            dropped, self._dropped = self._dropped, 0
            if dropped:
                data += f"({dropped} messages were dropped)\n".encode()
            try:
                _write_all(self.fileno(), data)
            except OSError as error:
                if error.errno != errno.EPIPE:
                    self.error = error
            self._texts.task_done()


def _write_all(descriptor, data):
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [], 1.0)


def guard() -> None:
    """Makes `print`, warnings and logging write through a `Console`.

    Programs call it before they print. Pending text is written before the
    process ends. Standard output, which holds results and is not used by
    training, is waited for as long as somebody may read it, unless a signal
    comes; if its disk is full, a line is logged. A line is also logged if a
    thread ends by an error.
    """
    open_standard_streams()
    for name, timeout_s in (("stdout", math.inf), ("stderr", 2.0)):
        try:
            console = Console(getattr(sys, name), waits=name == "stdout")
            console.fileno()
        except (OSError, ValueError, AttributeError):  # closed, or none
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
            continue
        setattr(sys, name, console)
        atexit.register(_finish, console, timeout_s)
    threading.excepthook = lambda ended: log(
        f"error: thread {ended.thread and ended.thread.name} ended: "
        f"{ended.exc_type.__name__}: {ended.exc_value}",
        of_each=True,
    )


def drain() -> None:
    """Waits up to two seconds until pending text is written."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Console):
            stream.drain()


def _finish(console, timeout_s):
    stopped = STOP()
    with contextlib.suppress(KeyboardInterrupt):  # see `interrupt_once`
        console.drain(2.0 if stopped else timeout_s, lambda: STOP() != stopped)
    error = console.error
    if error is not None and console is sys.stdout:
        log(f"standard output cannot be written: {error}", of_each=True)
        drain()


def only_chief_logs(is_chief: bool) -> None:
    """Makes `log` write only on the chief, unless `of_each` is set."""
    global _quiet
    _quiet = not is_chief


def log(text: str, *, of_each: bool = False) -> None:
    """Writes one line, above a progress bar if there is one.

    Args:
        text: the line.
        of_each: whether every worker writes it. Defaults to False, only the
            chief does.
    """
    if of_each or not _quiet:
        with contextlib.suppress(OSError):
            tqdm.tqdm.write(text, file=sys.stderr)
