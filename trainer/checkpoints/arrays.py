"""Writes arrays as NumPy files, in chunks, with their SHA-256."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.settings.optimization import IF_DIVERGED
from wukong_tf.embeddings import table_rows
from wukong_tf.errors import TrainingError
from wukong_tf.runs.arrays import NamedArray, StoredRows


@dataclasses.dataclass(frozen=True)
class WrittenShards:
    """An array whose rows the workers that own them have written to files.

    Args:
        folder: directory of the files.
        entry: entry of the array in a checkpoint's index.
    """

    folder: str
    entry: dict[str, Any]

    def link_to(self, folder: str) -> dict[str, Any]:
        """Links the files into a checkpoint's directory; returns the entry."""
        for part in self.entry.get("shards", [self.entry]):
            name = part["file"]
            path = os.path.join(self.folder, name)
            try:
                os.link(path, os.path.join(folder, name))
            except OSError:  # not on every file system
                shutil.copyfile(path, os.path.join(folder, name))
        return self.entry


class OwnedRows:
    """The rows of a sharded canonical array that this worker owns, or all.

    Args:
        slot: slot of the array.
    """

    def __init__(self, slot: NamedArray):
        assert slot.rows is not None
        self._variable, self._rows = slot.variable, slot.rows
        shards = slot.variable.shards
        rows = shards.before(slot.rows[1]) - shards.before(slot.rows[0])
        self.shape = (rows, *slot.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = np.dtype(str(slot.variable.dtype))

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields the rows in pieces."""
        size = table_rows.row_bytes(self._variable)
        for start, stop in table_rows.chunks(self._rows, size):
            yield table_rows.read_owned(self._variable, start, stop)


class _Hashing:
    """A file wrapper that computes the SHA-256 of the data written."""

    def __init__(self, file):
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, data):
        self._sha256.update(data)
        return self._file.write(data)

    def hexdigest(self):
        return self._sha256.hexdigest()


def _check_finite(name, array):
    """Raises TrainingError if a value is not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise TrainingError(
            f"the weights {name!r} are no longer finite. The checkpoint was "
            f"not saved; earlier ones are intact. {IF_DIVERGED}"
        )


def write_array(
    folder: str,
    file_name: str,
    name: str,
    array: StoredRows | OwnedRows | WrittenShards | np.ndarray,
) -> dict[str, Any]:
    """Writes an array and returns its entry in a checkpoint's index.

    Args:
        folder: directory of the checkpoint.
        file_name: name of the file.
        name: canonical name of the array, for errors.
        array: the array, read in chunks, or the files of workers that wrote
            their rows of it, which are linked.

    Raises:
        TrainingError: a value is not finite.
    """
    if isinstance(array, WrittenShards):
        return array.link_to(folder)
    with open(os.path.join(folder, file_name), "wb") as file:
        hashing = _Hashing(file)
        np.lib.format.write_array_header_1_0(
            hashing,
            {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": array.shape,
            },
        )
        for chunk in _chunks(array):
            _check_finite(name, chunk)
            hashing.write(chunk.tobytes())
    return {
        "file": file_name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashing.hexdigest(),
    }


def _chunks(array):
    """Yields chunks of rows, so that little is in memory twice."""
    if isinstance(array, StoredRows | OwnedRows):
        yield from array.chunks()
    elif not array.ndim:
        yield array
    else:
        size = array.nbytes // max(1, len(array))
        for start, stop in table_rows.chunks((0, len(array)), size):
            yield array[start:stop]
