"""Expands paths and globs, and rejects files that need preparation."""

import glob
import os
from collections.abc import Sequence

from wukong_tf.errors import DataError

# Extensions of files that must be prepared first.
_TEXT = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".libsvm", ".libfm")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip")


def expand(files: Sequence[str]) -> list[str]:
    """Returns the files that paths and globs match; a glob's are sorted.

    Raises:
        DataError: a pattern matches no file, or a file is missing, a
            directory or named twice.
    """
    paths: list[str] = []
    for pattern in files:
        matches = [pattern]
        if not os.path.exists(pattern) and glob.has_magic(pattern):
            matches = sorted(glob.glob(pattern, recursive=True))
            if not matches:
                raise DataError(f"{pattern}: no file matches.")
        paths += matches
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
            raise DataError(
                f"{path}: is named twice; its rows would be read twice."
            )
        seen.add(os.path.realpath(path))
    return paths


def refuse_text(path: str):
    """Raises DataError if a file is text or compressed.

    The message gives the command that prepares it.
    """
    lower = path.lower()
    kind = None
    if lower.endswith(_COMPRESSED):
        kind = "a compressed file"
    elif lower.endswith(_TEXT):
        kind = "a text file"
    if kind:
        raise DataError(
            f"{path}: is {kind}; the trainer reads Parquet and uncompressed "
            f"TFRecord files. {_advice(path)}"
        )


def prepare_hint(path: str) -> str:
    """Returns advice if a file does not start as a Parquet file does."""
    try:
        with open(path, "rb") as file:
            begins = file.read(4)
    except OSError:
        return ""
    if not begins or begins == b"PAR1":
        return ""
    return f" If it is text or compressed: {_advice(path)}"


def _advice(path):
    folder = os.path.dirname(path) or "."
    return (
        "Convert it to Parquet: python -m trainer.prepare --dataset=csv "
        f"--input={folder} --output=DIR (--help lists the known data sets)."
    )
