"""A run of MLflow, in the store that its own variables name."""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from trainer.tracking.tracker import Start, Status
from wukong_tf import files

LONGEST_VALUE = 6000  # characters of a parameter
LONGEST_KEY = 250
BATCH = 100  # parameters or tags of one request; there may be more metrics
_FINAL = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_OTHER = re.compile(r"[^\w\-. :/]")
_EMPTY = re.compile(r"(?:^|(?<=/))\.{0,2}(?=/|$)")  # would be another path


class MLflowRun:
    """A run of MLflow."""

    def __init__(self):
        if (os.environ.get("MLFLOW_TRACKING_URI") or "").startswith("file:"):
            # Whoever names a file store knows that MLflow prefers databases.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client: mlflow.MlflowClient
        self._run = ""

    def start(self, start: Start, known: str | None) -> tuple[str, str]:
        """Begins the run, or sets it running again."""
        with _alone(mlflow.get_tracking_uri()):
            self._client = mlflow.MlflowClient()  # makes missing tables
            experiment = _experiment()
        run = self._find(known)
        did = "resumes"
        if run is None:
            did = "begins"
            run = self._client.create_run(experiment, run_name=start.name)
        self._run = run.info.run_id
        self._client.update_run(self._run, status="RUNNING", name=start.name)
        values = {key: _cut(value) for key, value in start.parameters.items()}
        before = run.data.params
        changed = {
            f"resumed.{key}": value
            for key, value in values.items()
            if before.get(key, value) != value
        }
        for params in _batches(values.keys() - before.keys()):
            self._client.log_batch(
                self._run, params=[Param(key, values[key]) for key in params]
            )
        for tags in _batches(start.tags | changed):
            both = start.tags | changed
            self._client.log_batch(
                self._run, tags=[RunTag(_key(k), both[k]) for k in tags]
            )
        return self._run, f"run {self._run} {did}"

    def _find(self, known):
        """Returns the run that resumes, or None if it is not in the store."""
        if known is None:
            return None
        try:
            run = self._client.get_run(known)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def metrics(self, step: int, time: float, values: dict[str, Any]) -> None:
        """Adds numbers of a step."""
        for keys in _batches(values):
            self._client.log_batch(
                self._run,
                metrics=[
                    Metric(_key(key), values[key], int(1000 * time), step)
                    for key in keys
                ],
            )

    def report(self, folder: str) -> None:
        """Adds the files of the report as artifacts."""
        self._client.log_artifacts(self._run, folder, "report")

    def finish(self, status: Status) -> None:
        """Ends the run."""
        self._client.set_terminated(
            self._run, _FINAL[status], int(1000 * time.time())
        )


@contextlib.contextmanager
def _alone(uri):
    """Locks the folder of a SQLite store against other trackers.

    MLflow fails if two processes make the tables of a store at once.
    """
    with contextlib.ExitStack() as stack:
        scheme, _, path = uri.partition(":///")
        if scheme == "sqlite":
            with contextlib.suppress(OSError):  # such as NFS without locks
                folder = os.path.dirname(os.path.abspath(path))
                os.makedirs(folder, exist_ok=True)  # as MLflow would
                stack.enter_context(files.locked(folder, wait=True))
        yield


def _experiment():
    """Returns the id of the experiment that MLflow's variables name."""
    number = os.environ.get("MLFLOW_EXPERIMENT_ID")
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
    found = (
        mlflow.set_experiment(experiment_id=number)
        if number
        else mlflow.set_experiment(name)
    )
    return found.experiment_id


def _batches(items: Iterable[str]) -> Iterable[Sequence[str]]:
    listed = sorted(items)
    return (listed[i : i + BATCH] for i in range(0, len(listed), BATCH))


def _cut(value) -> str:
    """Returns a parameter's text; a cut one ends with its length."""
    text = str(value)
    if len(text) <= LONGEST_VALUE:
        return text
    end = f" ... (cut, {len(text)} characters)"
    return text[: LONGEST_VALUE - len(end)] + end


def _key(name: str) -> str:
    """Returns MLflow's name of a metric; a changed one ends with a digest."""
    key = _EMPTY.sub("_", _OTHER.sub("_", name))
    if key == name and len(key) <= LONGEST_KEY:
        return key
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{key[: LONGEST_KEY - 9]}_{digest}"
