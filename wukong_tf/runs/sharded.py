"""Arrays whose rows several workers wrote, read as one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wukong_tf.sharding.layout import Shards


class ShardedArray:
    """A canonical array, read from the files of several workers on demand.

    It has the shape, dtype, slices and index arrays of a NumPy array; only the
    rows that are asked for are read.

    Args:
        parts: each worker's rows, in order, such as memory maps.
        first: row of the sharded table that is this array's row 0.
        rows: number of rows.

    Raises:
        ValueError: a part has another shape than its rows need.
    """

    def __init__(self, parts: Sequence[np.ndarray], first: int, rows: int):
        self._parts = list(parts)
        self._first = first
        self._shards = [
            Shards(first + rows, len(parts), index)
            for index in range(len(parts))
        ]
        self.shape = (rows, *parts[0].shape[1:])
        self.dtype = parts[0].dtype
        for part, shards in zip(self._parts, self._shards, strict=True):
            here = shards.local_rows - shards.before(first)
            if part.shape != (here, *self.shape[1:]) or (
                part.dtype != self.dtype
            ):
                raise ValueError(
                    f"a worker's rows must be {self.dtype} of shape "
                    f"{(here, *self.shape[1:])}; received {part.dtype} of "
                    f"shape {part.shape}"
                )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Returns rows; of `array[:, columns]`, an array that reads these."""
        if isinstance(key, tuple):
            rows, columns = key[0], key[1:]
            if isinstance(rows, slice) and rows == slice(None):
                parts = [part[(rows, *columns)] for part in self._parts]
                return ShardedArray(parts, self._first, len(self))
            return self[rows][(slice(None), *columns)]
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._run(start, max(start, stop))
            key = np.arange(start, stop, step)
        key = np.asarray(key)
        if key.dtype == bool:
            key = np.flatnonzero(key)
        return self._rows(key.reshape(-1)).reshape(
            (*key.shape, *self.shape[1:])
        )

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        del copy  # what is read is a copy already
        whole = self._run(0, len(self))
        return whole if dtype is None else whole.astype(dtype)

    def _run(self, start, stop):
        """Reads rows `start` to `stop` - 1."""
        first = self._first
        found = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for part, shards in zip(self._parts, self._shards, strict=True):
            owned = shards.owned(first + start, first + stop)
            skipped = shards.before(first + start) - shards.before(first)
            found[owned - (first + start)] = part[
                skipped : skipped + len(owned)
            ]
        return found

    def _rows(self, rows):
        """Reads the rows of an array of numbers [n]."""
        if ((rows < -len(self)) | (rows >= len(self))).any():
            raise IndexError(f"a row is out of range of {len(self)} rows")
        rows = self._first + rows.astype(np.int64) % len(self)
        owners, places = self._shards[0].places(rows)
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for index, part in enumerate(self._parts):
            mine = owners == index
            before = self._shards[index].before(self._first)
            found[mine] = part[places[mine] - before]
        return found
