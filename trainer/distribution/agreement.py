"""Workers of one run must have the same flags, data and code."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.file_source import FileSource
from trainer.data.source import Source
from trainer.distribution.workers import Workers
from wukong_tf.errors import ConfigError

_ENDS = 2**16  # bytes at each end of a file that are compared
ROOT = Path(__file__).resolve().parents[2]


def identity(content: dict[str, Any], splits: dict[str, Source]) -> dict:
    """What must be the same for every worker, by name.

    Args:
        content: the run's configuration, as config.json has it, with the
            features.
        splits: the sources by split.
    """
    found = {
        f"{group}.{key}": plain_text(value)
        for group, values in content.items()
        if isinstance(values, dict)
        for key, value in values.items()
    }
    for split, source in splits.items():
        if isinstance(source, FileSource):
            for path in source.paths:
                name = os.path.basename(path)
                found[f"the {split} file {name}"] = file_digest(path)
    found["the code of wukong_tf and trainer"] = code_digest()
    for package in (tf, keras, np):
        found[f"the version of {package.__name__}"] = package.__version__
    return found


def check_same(workers: Workers, mine: dict[str, str]):
    """Refuses to begin where workers differ.

    Raises:
        ConfigError: naming the workers and what differs.
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
        raise ConfigError(
            "the workers of a run must have the same flags, data and code; "
            "different: " + "; ".join(lines) + "."
        )


def plain_text(value: Any) -> str:
    """A value in words, and those too long for a line as a digest."""
    text = json.dumps(value, sort_keys=True)
    if len(text) <= 60:
        return text
    return f"of digest {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def file_digest(path: str) -> str:
    """A file's size, and a digest of its first and last bytes.

    The last bytes of a Parquet file hold the place and the statistics of all
    its columns.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        content = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        content += file.read()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return f"{size} bytes of digest {digest}"


def code_digest() -> str:
    """A digest of the sources of wukong_tf and trainer."""
    total = hashlib.sha256()
    for package in ("wukong_tf", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            total.update(path.relative_to(ROOT).as_posix().encode())
            total.update(path.read_bytes())
    return f"of digest {total.hexdigest()[:12]}"
