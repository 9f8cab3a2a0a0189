"""Spreads the rows of a table over workers."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

# Knuth's multiplicative hash: the golden ratio times 2**32.
_GOLDEN, _WORD, _HALF = 2_654_435_761, 2**32, 2**16


@dataclasses.dataclass(frozen=True)
class Shards:
    """The rows of a table that each of N workers owns.

    Row r is in block b = r // N. Each worker owns one row of every whole block,
    as its local row b, and row r belongs to worker (r + h(b)) mod N with a hash
    h. So the workers' rows differ in number by at most one, the most frequent
    of ids that are sorted by frequency are spread evenly, as are ids at any
    regular distance, and the rows that a worker owns of a run of rows are a run
    of its local rows.

    Args:
        rows: rows of the table, below 2**31 for each worker.
        count: N, the number of workers.
        index: this worker, from 0.

    Attributes:
        contiguous: whether a worker's rows follow one another, False.

    Example:
        >>> [int(row) for row in Shards(7, count=2, index=0).owned(0, 7)]
        [0, 3, 4, 6]
    """

    rows: int
    count: int
    index: int
    contiguous: ClassVar[bool] = False

    @property
    def local_rows(self) -> int:
        """Number of rows that this worker owns."""
        return self.before(self.rows)

    def places(self, rows: Any) -> tuple[Any, Any]:
        """Returns the owners of rows, and their local rows there.

        Args:
            rows: int64, an array of NumPy or a tensor of TensorFlow.
        """
        blocks = rows // self.count
        return (rows + _hash(blocks)) % self.count, blocks

    def owned(self, start: int, stop: int) -> np.ndarray:
        """Returns this worker's rows among `start` to `stop` - 1, int64."""
        blocks = np.arange(
            start // self.count, -(-stop // self.count), dtype=np.int64
        )
        rows = self._row(blocks)
        return rows[(start <= rows) & (rows < stop)]

    def before(self, row: int) -> int:
        """Returns the number of this worker's rows below `row`."""
        block = row // self.count
        return block + bool(self._row(np.int64(block)) < row)

    def runs(self, sizes: Sequence[int]) -> list[int]:
        """Returns how many rows it owns of each of the runs of all rows.

        Args:
            sizes: rows of each run, in order.
        """
        ends = [0, *(self.before(end) for end in itertools.accumulate(sizes))]
        return [end - start for start, end in itertools.pairwise(ends)]

    def _row(self, blocks):
        """Returns the row of each block that this worker owns."""
        first = blocks * self.count
        return first + (self.index - first - _hash(blocks)) % self.count


def _hash(blocks):
    """Returns a number of 16 bits for each int64 below 2**31."""
    return blocks * _GOLDEN % _WORD // _HALF
