"""Writes metrics.jsonl and TensorBoard's events."""

import errno
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import tensorflow as tf

from trainer.process.console import log
from wukong_tf import files
from wukong_tf.errors import RunError

METRICS = "metrics.jsonl"
EVENTS = "tensorboard"  # folder
# tf.summary.scalar needs the TensorBoard package; this writes equal events.
_SCALAR = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"),
    data_class="DATA_CLASS_SCALAR",
)


class Metrics(Protocol):
    """Interface of an object that receives records."""

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Adds one record."""
        ...


class NoMetrics:
    """Discards the records of a worker that is not the chief."""

    def write(self, kind: str, step: int, values: dict[str, Any]):
        """Does nothing, since the chief writes the same record."""


class MetricsLog:
    """Writes each record to metrics.jsonl and as TensorBoard events.

    Args:
        run_dir: the run directory.
        step: step that the run resumes from; later records are dropped,
            since those steps will be run again.
        check: called before every write; raises RunError if `run_dir` is no
            longer that of the run. Defaults to doing nothing.
    """

    def __init__(
        self, run_dir: str, step: int, check: Callable[[], None] = lambda: None
    ):
        self._check = check
        self._path = os.path.join(run_dir, METRICS)
        self._keep_until(step)
        self._pending: list[str] = []  # lines that could not be written yet
        self._failed: set[str] = set()
        self._events = os.path.join(run_dir, EVENTS)
        self._writer: tf.summary.SummaryWriter | None = None

    def _keep_until(self, step):
        if not os.path.exists(self._path):
            return
        with open(self._path, "rb") as file:
            # The last line may lack its newline.
            lines = [
                line.rstrip(b"\n") + b"\n"
                for line in file
                if _step_of(line) <= step
            ]
        with files.atomic_path(self._path) as temporary:
            with open(temporary, "wb") as file:
                file.writelines(lines)

    def write(self, kind: str, step: int, values: dict[str, Any]):
        """Adds one record; keys of nested values are joined into tags."""
        record = {"step": step, "kind": kind, **_json_ready(values)}
        self._pending.append(json.dumps(record) + "\n")
        self._try(self._path, self._append)
        self._try("TensorBoard's events", self._summarize, kind, step, values)

    def _append(self):
        """Writes the pending lines, all of them or none."""
        kind = files.kind_of(self._path)
        if kind not in (None, files.FILE):  # opening a pipe would wait
            raise OSError(f"{self._path} is {kind}")
        with open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            data = "".join(self._pending).encode()
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise
        self._pending.clear()

    def _summarize(self, kind, step, values):
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._events)
        with self._writer.as_default():
            write_scalars(flat(values, kind), step)
        self._writer.flush()

    def _try(self, what, write, *arguments):
        """Calls `write`, and logs errors, so that a full disk stops no run."""
        try:
            self._check()
            write(*arguments)
        except (OSError, RunError, tf.errors.OpError) as error:
            if what not in self._failed:
                text = " ".join(str(error).split())[-300:]
                log(f"{what} cannot be written for now: {text}")
            self._failed.add(what)
            return
        if what in self._failed:
            log(f"{what} can be written again")
            self._failed.discard(what)


def _step_of(line):
    """Returns the step of a record; infinity for a malformed one."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf


def _json_ready(value):
    """Returns `value` with NaN and infinities as None, JSON's null."""
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_scalars(scalars: Iterable[tuple[str, float]], step: int) -> None:
    """Writes numbers by their tags as events, to the default writer."""
    for tag, value in scalars:
        number = tf.constant(value, tf.float32)
        tf.summary.write(tag, number, step=step, metadata=_SCALAR)


def flat(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yields the numbers of nested values by tags, their joined keys."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}/{key}")
        elif isinstance(value, int | float):
            yield f"{prefix}/{key}", value
