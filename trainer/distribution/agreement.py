"""Workers of one run must have the same flags, data and code."""

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
    """What must be the same for every worker, by name.

    Args:
        content: the run's configuration, as config.json has it, with the
            features.
        contents: the files.
    """
    found = {
        f"{group}.{key}": plain_text(value)
        for group, values in content.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    found |= _by_name(contents, "outline")
    found["the code of wukong_tf and trainer"] = code_digest()
    for package in (tf, keras, np):
        found[f"the version of {package.__name__}"] = package.__version__
    return found


def check_same(
    workers: Workers,
    mine: dict[str, str],
    kind: type[WukongError] = ConfigError,
):
    """Refuses to go on where workers differ.

    Args:
        workers: of the run.
        mine: what must be the same, by name.
        kind: of the error. Defaults to ConfigError.

    Raises:
        WukongError: naming the workers and what differs.
    """
    of_all = workers.gather(mine)
    lines = []
    for number, theirs in enumerate(of_all[1:], 1):
        for name in sorted({*of_all[0], *theirs}):
            chief, other = of_all[0].get(name), theirs.get(name)
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
    """A value in words, and those too long for a line as a digest."""
    text = json.dumps(value, sort_keys=True)
    if len(text) <= 60:
        return text
    return f"of digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"


class SameFiles:
    """Holds the files of all workers to one content, once they were read.

    It is called by all workers alike; until all have read their files, each
    call asks them how far they are.

    Args:
        workers: of the run.
        contents: this worker's files.
        keep: called with what is known of the files whenever it grew, and
            again where it raised OSError.

    Attributes:
        agreed: whether all files are known to be those of the run.
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
        self._kept: dict[str, Any] | None = None
        self.agreed = False

    def __call__(self, *progress):
        """Compares what was read by now.

        Raises:
            ContentError: a file of any worker is not what it must be.
            DataError: one was changed since, or cannot be read.
        """
        record = self._contents.record()
        if not self.agreed:
            self._compare(record)
        if record != self._kept:
            with contextlib.suppress(OSError):  # a full disk ends no run
                self._keep(record)
                self._kept = record

    def _compare(self, record):
        contents = self._contents
        error = contents.error
        of_all = self._workers.gather(
            {
                "error": error and str(error),
                "from_start": isinstance(error, ContentError),
                "digest": contents.complete and plain_text(record),
            }
        )
        for each in of_all:
            if each["error"]:
                kind = ContentError if each["from_start"] else DataError
                raise kind(each["error"])
        digests = [each["digest"] for each in of_all]
        self.agreed = all(digests)
        if self.agreed and len(set(digests)) > 1:
            check_same(
                self._workers, _by_name(contents, "sha256"), ContentError
            )


def _by_name(contents, key) -> dict[str, str]:
    """What is known of each file; those of one name are numbered."""
    found: dict[str, str] = {}
    for split, entries in contents.record().items():
        for number, each in enumerate(entries):
            name = f"the {split} file {each['file']}"
            if name in found:
                name += f" (number {number + 1})"
            found[name] = each[key]
    return found


def code_digest() -> str:
    """A digest of the sources of wukong_tf and trainer."""
    total = hashlib.sha256()
    for package in ("wukong_tf", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            total.update(path.relative_to(ROOT).as_posix().encode())
            total.update(path.read_bytes())
    return f"of digest {total.hexdigest()[:12]}"
