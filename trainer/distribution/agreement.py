"""Checks that the workers of a run have the same flags, data and code."""

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.content import Contents
from trainer.distribution.workers import Workers
from wukong_tf.errors import ConfigError, ContentError, DataError, WukongError

ROOT = Path(__file__).resolve().parents[2]


def identity(content: dict[str, Any], contents: Contents) -> dict:
    """Returns the values that must be equal on all workers, by name.

    Args:
        content: the run's configuration in the form of config.json, and the
            features.
        contents: the files of the run.
    """
    values_by_name = {
        f"{group}.{key}": plain_text(value)
        for group, values in content.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    values_by_name |= _by_name(contents, "outline")
    values_by_name["the code of wukong_tf and trainer"] = code_digest()
    for package in (tf, keras, np):
        name = f"the version of {package.__name__}"
        values_by_name[name] = package.__version__
    return values_by_name


def check_same(
    workers: Workers,
    mine: dict[str, str],
    kind: type[WukongError] = ConfigError,
):
    """Raises an error if workers differ.

    Args:
        workers: the workers of the run.
        mine: this worker's values, by name.
        kind: class of the error. Defaults to ConfigError.

    Raises:
        WukongError: the message names the workers and the differences.
    """
    first, *others = workers.gather(mine)
    lines = []
    for number, theirs in enumerate(others, 1):
        for name in sorted({*first, *theirs}):
            chief, other = first.get(name), theirs.get(name)
            if chief != other:
                lines.append(
                    f"{name} is {chief} for worker 0 and {other} for worker "
                    f"{number}"
                )
    if lines:
        raise kind(
            "the workers of a run must have the same flags, data and code; "
            "different: " + "; ".join(lines) + "."
        )


def plain_text(value: Any) -> str:
    """Returns a value as JSON, or its digest if over 60 characters."""
    text = json.dumps(value, sort_keys=True)
    if len(text) <= 60:
        return text
    return f"of digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"


class SameFiles:
    """Checks that all workers read files of the same content.

    All workers must call it together; until all have hashed their files,
    each call gathers their progress.

    Args:
        workers: the workers of the run.
        contents: this worker's files.
        keep: called with the record of the files whenever it changed, and
            again after an OSError. Defaults to doing nothing.

    Attributes:
        agreed: whether all files were verified to be those of the run.
    """

    def __init__(
        self,
        workers: Workers,
        contents: Contents,
        keep: Callable[[dict[str, Any]], None] = lambda record: None,
    ):
        self._workers = workers
        self._contents = contents
        self._keep = keep
        self._recorded: dict[str, Any] | None = None
        self.agreed = False

    def __call__(self, *progress):
        """Compares the files hashed so far.

        Raises:
            ContentError: the content of a file of any worker is not the
                expected one.
            DataError: a file was changed meanwhile, or cannot be read.
        """
        record = self._contents.record()
        if not self.agreed:
            self._compare(record)
        if record != self._recorded:
            with contextlib.suppress(OSError):  # a full disk must not end it
                self._keep(record)
                self._recorded = record

    def _compare(self, record):
        contents = self._contents
        error = contents.error
        states = self._workers.gather(
            {
                "error": error and str(error),
                "from_start": isinstance(error, ContentError),
                "digest": contents.complete and plain_text(record),
            }
        )
        for state in states:
            if state["error"]:
                kind = ContentError if state["from_start"] else DataError
                raise kind(state["error"])
        digests = [state["digest"] for state in states]
        self.agreed = all(digests)
        if self.agreed and len(set(digests)) > 1:
            check_same(
                self._workers, _by_name(contents, "sha256"), ContentError
            )


def _by_name(contents, key) -> dict[str, str]:
    """Returns a field of each file's record; equal names are numbered."""
    fields: dict[str, str] = {}
    for split, entries in contents.record().items():
        for number, entry in enumerate(entries):
            name = f"the {split} file {entry['file']}"
            if name in fields:
                name += f" (number {number + 1})"
            fields[name] = entry[key]
    return fields


def code_digest() -> str:
    """Returns a digest of the source code of wukong_tf and trainer."""
    total = hashlib.sha256()
    for package in ("wukong_tf", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            total.update(path.relative_to(ROOT).as_posix().encode())
            total.update(path.read_bytes())
    return f"of digest {total.hexdigest()[:12]}"
