"""Which files paths and globs stand for, and which cannot be trained on."""

import glob
import os
from collections.abc import Sequence

from wukong_tf.errors import DataError

# Files that are no rows yet, by how their names end.
_TEXT = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".libsvm", ".libfm")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")


def expand(files: Sequence[str]) -> list[str]:
    """The files that paths and globs stand for, those of a glob sorted.

    Raises:
        DataError: nothing matches, or a file is named twice.
    """
    paths: list[str] = []
    for pattern in files:
        found = [pattern]
        if not os.path.exists(pattern) and glob.has_magic(pattern):
            found = sorted(glob.glob(pattern, recursive=True))
            if not found:
                raise DataError(f"{pattern}: no file matches.")
        paths += found
    seen = set()
    for path in paths:
        if not os.path.exists(path):
            raise DataError(f"{path}: there is no such file.")
        if os.path.isdir(path):
            raise DataError(
                f"{path}: is a directory; give files, such as "
                f"{os.path.join(path, '*.parquet')}."
            )
        if os.path.realpath(path) in seen:
            raise DataError(f"{path}: is named twice; its rows would count so.")
        seen.add(os.path.realpath(path))
    return paths


def refuse_text(path: str):
    """Refuses text and compressed files, and says how to prepare them.

    Raises:
        DataError: with the command.
    """
    lower = path.lower()
    kind = None
    if lower.endswith(_COMPRESSED):
        kind = "a compressed file"
    elif lower.endswith(_TEXT):
        kind = "a text file"
    if kind:
        folder = os.path.dirname(path) or "."
        raise DataError(
            f"{path}: is {kind}; the trainer reads Parquet and uncompressed "
            "TFRecord files. Make those once: python -m trainer.prepare "
            f"--dataset=csv --input={folder} --output=DIR (--help names the "
            "data sets that it knows)."
        )
