"""The process of one tracker: `python -m trainer.tracking.child NAME`.

It reads calls as lines of JSON, and prints what the run shall log. It loads no
TensorFlow.
"""

import contextlib
import json
import os
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from trainer.tracking.tracker import Start, Status
from wukong_tf import files
from wukong_tf.errors import one_line, without_credentials

_SECRET = re.compile(r"KEY|TOKEN|PASSWORD|SECRET", re.I)
_SHORTEST_SECRET = 6
ORPHAN_S = 60.0  # longest life of this process after the trainer's


class Service(Protocol):
    """Interface of a service's own run; any method may raise or wait."""

    def start(self, start: Start, known: str | None) -> tuple[str, str]:
        """Begins the run; returns its id and a line about it.

        Args:
            start: describes the run.
            known: id of the run if it resumes. None if it does not.
        """
        ...

    def metrics(self, step: int, time: float, values: dict[str, Any]) -> None:
        """Adds numbers of a step, at a time in seconds since 1970."""
        ...

    def report(self, folder: str) -> None:
        """Adds the files of the report."""
        ...

    def finish(self, status: Status) -> None:
        """Ends the run, and returns once all is sent."""
        ...


class Sent:
    """The id of the tracker's run, and the last step sent of each kind.

    A run that resumes from a checkpoint repeats steps, which trackers would
    show twice.

    Args:
        path: its file, in the run directory.
        run: id of the run of the trainer; a file of another is ignored.
    """

    def __init__(self, path: str, run: str):
        self._path = path
        self._content: dict[str, Any] = {"of": run, "run": None, "steps": {}}
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if content["of"] == run and content["steps"].items() is not None:
                self._content = content
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # as if it were new

    @property
    def run(self) -> str | None:
        """The id of the tracker's run, or None before it began."""
        return self._content["run"]

    @run.setter
    def run(self, run: str):
        if run != self.run:
            self._content |= {"run": run, "steps": {}}
            self._write()

    def has(self, kind: str, step: int) -> bool:
        """Returns whether a record of this kind and step was sent."""
        return step <= self._content["steps"].get(kind, -1)

    def add(self, kind: str, step: int) -> None:
        """Notes that a record was sent."""
        self._content["steps"][kind] = step
        self._write()

    def _write(self):
        files.write_json(self._path, self._content)


class Calls:
    """Passes the calls of a run on to a service.

    Args:
        name: name of the tracker.
        service: the service's run.
        say: prints a line.
    """

    def __init__(self, name: str, service: Service, say: Callable[[str], Any]):
        self._name = name
        self._service = service
        self._say = say
        self._sent: Sent
        self._failed: set[str] = set()
        self._held = contextlib.ExitStack()

    def serve(self, lines: Iterable[str]) -> None:
        """Serves calls until one of `finish`, or as failed until the last."""
        with self._held:
            self._serve(lines)

    def _serve(self, lines):
        for line in lines:
            if not line.endswith("\n"):  # the trainer died
                break
            message = json.loads(line)
            call = message.pop("call")
            try:
                getattr(self, f"_{call}")(**message)
            except Exception as error:
                if call == "start":
                    self._say(f"no run, as it cannot be started: {_why(error)}")
                    return
                if call not in self._failed:
                    self._say(f"{call}: cannot be sent for now: {_why(error)}")
                self._failed.add(call)
            else:
                if call in self._failed:
                    self._say(f"{call}: can be sent again")
                self._failed.discard(call)
            if call == "finish":
                return
        self._service.finish("failed")

    def _start(self, time, **start):
        del time
        os.makedirs(start["folder"], exist_ok=True)
        path = os.path.join(start["folder"], self._name)
        _hold(self._held, f"{path}.lock")
        self._sent = Sent(f"{path}.json", start["run"])
        run, text = self._service.start(Start(**start), self._sent.run)
        self._sent.run = run
        self._say(text)

    def _metrics(self, time, kind, step, values):
        if not self._sent.has(kind, step):
            self._service.metrics(step, time, values)
            self._sent.add(kind, step)

    def _report(self, time, step, values, folder):
        self._service.metrics(step, time, values)
        self._service.report(folder)

    def _finish(self, time, status):
        del time
        self._service.finish(status)


def _hold(stack, path):
    """Waits for the tracker of a killed trainer, which may still be sending."""
    while True:
        with contextlib.suppress(BlockingIOError):
            stack.enter_context(files.locked(path))
            return
        time.sleep(0.1)


def _why(error):
    return f"{type(error).__name__}: {one_line(error)}"


def without_secrets(text: str) -> str:
    """Returns a line without credentials of URLs and of the environment."""
    for name, value in os.environ.items():
        if _SECRET.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "***")
    return without_credentials(text)[:500]


def make(name: str) -> Service:
    """Returns the service of a tracker, which loads its package."""
    if name == "mlflow":
        from trainer.tracking.mlflow_run import MLflowRun

        return MLflowRun()
    from trainer.tracking.wandb_run import WandbRun

    return WandbRun()


def main():
    """Serves the calls that come through standard input."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # where packages print what they like

    def say(text):
        with contextlib.suppress(OSError):  # the trainer died
            print(without_secrets(text), file=out)

    threading.Thread(target=_end_after_trainer, daemon=True).start()
    try:
        service = make(sys.argv[1])
    except Exception as error:
        say(f"no run, as its package cannot be imported: {_why(error)}")
        return
    Calls(sys.argv[1], service, say).serve(sys.stdin)


def _end_after_trainer():
    """Ends this process, even one that hangs, once the trainer has died."""
    pipe = select.poll()
    pipe.register(0, 0)  # nobody writes to standard input any more
    pipe.poll()
    time.sleep(ORPHAN_S)
    os._exit(1)


if __name__ == "__main__":
    main()
