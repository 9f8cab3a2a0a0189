"""A tracker in a process of its own, whose failures cost only lines."""

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import IO, Any, cast

from trainer.process.console import log
from trainer.process.stop_signal import STOP
from trainer.tracking.tracker import Start, Status
from wukong_tf import extras

PROGRAM: tuple[str, ...] = (
    *(sys.executable, "-P", "-m"),  # -P: not the modules of this directory
    "trainer.tracking.child",
)
WAITING = 10_000  # messages for a tracker that is slower than the run
FINISHED_S = 60.0  # longest wait for the tracker at the end of the run
STOPPED_S = 10.0  # and where somebody waits for this process to end


class ProcessTracker:
    """Sends what happens to `trainer.tracking.child`, from a thread.

    The process has a session of its own, so that Ctrl-C does not reach it. It
    ends the tracker's run as failed if this process dies.

    Args:
        name: name of the tracker, such as "mlflow".
    """

    def __init__(self, name: str):
        self._name = name
        self._messages: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._dropped = self._killed = self._began = False
        others = os.environ.get("PYTHONPATH")
        path = os.pathsep.join(filter(None, [extras.ROOT, others]))
        self._process = subprocess.Popen(
            [*PROGRAM, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self.threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run in (self._write, self._read)
        ]
        for thread in self.threads:
            thread.start()

    def start(self, start: Start) -> None:
        """Begins the run, or continues it."""
        self._send("start", **dataclasses.asdict(start))

    def metrics(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds numbers of a step."""
        self._send("metrics", kind=kind, step=step, values=values)

    def report(self, step: int, values: dict[str, Any], folder: str) -> None:
        """Adds the final report."""
        self._send("report", step=step, values=values, folder=folder)

    def finish(self, status: Status) -> None:
        """Ends the run; a tracker that is not done by then is killed."""
        wait = FINISHED_S if status == "finished" else STOPPED_S
        end = time.monotonic() + wait
        with contextlib.suppress(queue.Full):
            self._messages.put(_line("finish", status=status), timeout=wait)
        while self._process.poll() is None:
            now = time.monotonic()
            if STOP():
                end = min(end, now + STOPPED_S)
            if now > end:
                self._killed = True
                self._process.kill()
                self._warn(
                    "did not end in time; what it had not sent is lost"
                    if self._began
                    else "did not begin in time, as when a server does not "
                    "answer; nothing is sent"
                )
                break
            time.sleep(0.05)
        with contextlib.suppress(queue.Full):
            self._messages.put(None, timeout=1.0)  # ends the thread

    def _send(self, call, **arguments):
        try:
            self._messages.put_nowait(_line(call, **arguments))
        except queue.Full:
            if not self._dropped:
                self._warn("does not keep up; it misses some metrics")
            self._dropped = True

    def _write(self):
        """Sends the messages, and discards them once the process has ended."""
        pipe = cast(IO[bytes], self._process.stdin)
        while message := self._messages.get():
            with contextlib.suppress(OSError):  # `_read` says that it ended
                pipe.write(message)
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _read(self):
        """Logs the lines that the process prints, and its early end."""
        for line in cast(IO[bytes], self._process.stdout):
            self._began = True
            log(f"{self._name}: {line.decode(errors='replace').strip()}")
        code = self._process.wait()
        if code and not self._killed:
            self._warn(f"ended with exit code {code}")

    def _warn(self, text):
        log(f"--track={self._name}: the tracker {text}; the run goes on.")


def _line(call, **arguments):
    message = {"call": call, "time": time.time(), **arguments}
    return json.dumps(message).encode() + b"\n"
