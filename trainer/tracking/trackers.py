"""Opens the trackers of a run; the only module that others call."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from trainer.loop.metrics_log import Metrics, flat
from trainer.process.console import log
from trainer.settings import Settings
from trainer.tracking.process import ProcessTracker
from trainer.tracking.tracker import (
    FOLDER,
    Start,
    Status,
    Tracker,
    parameters_of,
)
from wukong_tf import runs
from wukong_tf.errors import one_line

_KINDS = ("train", "valid", "progressive")  # of records that trackers receive
_FIGURES = ("test", "valid", "run", "progressive")  # of the report


class Tracked:
    """Writes records to the log of a run, and gives them to its trackers.

    Args:
        records: the log.
        trackers: the trackers by name.

    Attributes:
        status: how the run ends; "stopped" until it is set.
    """

    def __init__(self, records: Metrics, trackers: dict[str, Tracker]):
        self._records = records
        self._trackers = trackers
        self._failed: set[str] = set()
        self.status: Status = "stopped"

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds one record."""
        self._records.write(kind, step, values)
        if kind in _KINDS:
            shared = {k: v for k, v in values.items() if k != "workers"}
            self.tell("metrics", kind, step, dict(flat(shared, kind)))

    def report(self, results: dict[str, Any], folder: str) -> None:
        """Adds the final report, the content of metrics.json in `folder`."""
        if not self._trackers:
            return
        figures = {key: results[key] for key in _FIGURES if key in results}
        figures["parameters"] = results["model"]["parameters"]
        values = dict(flat(figures, "report"))
        self.tell("report", results["run"]["steps"], values, folder)

    def tell(self, call: str, *arguments: Any) -> None:
        """Calls a method of all trackers; an error costs a line, once."""
        for name in self._trackers:
            self._tell(name, call, *arguments)

    def finish(self, status: Status) -> None:
        """Ends the runs of all trackers, whose waits are at the same time."""
        threads = [
            threading.Thread(target=self._tell, args=(name, "finish", status))
            for name in self._trackers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _tell(self, name, call, *arguments):
        try:
            getattr(self._trackers[name], call)(*arguments)
        except Exception as error:
            if name not in self._failed:
                log(
                    f"--track={name}: the tracker failed "
                    f"({one_line(error)[:300]}); the run goes on."
                )
            self._failed.add(name)


@contextlib.contextmanager
def tracked(
    settings: Settings, records: Metrics, check: Callable[[], None]
) -> Iterator[Tracked]:
    """Starts the trackers of a run; ends them with its status.

    Args:
        settings: the settings of the run, whose directory is claimed.
        records: receives all records too.
        check: raises RunError if the run directory is another one by now.
    """
    trackers: dict[str, Tracker] = {}
    for name in settings.run.track:
        try:
            trackers[name] = _make(name, settings.run.directory, check)
        except OSError as error:  # such as too many processes
            log(f"--track={name}: cannot start: {error}; the run goes on.")
    run = Tracked(records, trackers)
    if trackers:
        run.tell("start", start_of(settings))
    status: Status = "failed"
    try:
        yield run
        status = run.status
    finally:
        run.finish(status)


def _make(name, run_dir, check) -> Tracker:
    if name != "tensorboard":
        return ProcessTracker(name)
    from trainer.tracking.hparams import HParams

    return HParams(run_dir, check)


def start_of(settings: Settings) -> Start:
    """Returns what trackers know of a run when it starts or resumes."""
    run_dir = os.path.abspath(settings.run.directory)
    return Start(
        name=settings.run.track_name or os.path.basename(run_dir),
        run=runs.read_config(run_dir)["run"],
        folder=os.path.join(run_dir, FOLDER),
        parameters=parameters_of(settings),
        tags=settings.run.tags,
    )
