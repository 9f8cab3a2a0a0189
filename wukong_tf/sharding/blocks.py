"""Spreads the rows of weights over workers, a run of rows for each."""

import dataclasses
import heapq
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np

Shape = Sequence[int]
# First row of each worker, in order, and the number of rows.
Bounds = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The rows of an array, of which each worker has a run, or none.

    Stands where `layout.Shards` does, in which rows are spread by a hash.

    Args:
        bounds: first row of each worker, and the number of rows.
        index: this worker, from 0.

    Attributes:
        contiguous: whether a worker's rows follow one another, True.

    Example:
        >>> Blocks((0, 3, 3, 5), index=2).owned(1, 4).tolist()
        [3]
    """

    bounds: Bounds
    index: int
    contiguous: ClassVar[bool] = True

    @property
    def rows(self) -> int:
        """Number of rows of all workers."""
        return self.bounds[-1]

    @property
    def run(self) -> tuple[int, int]:
        """First row of this worker, and the one past its last."""
        return self.bounds[self.index], self.bounds[self.index + 1]

    @property
    def local_rows(self) -> int:
        """Number of rows of this worker."""
        return self.run[1] - self.run[0]

    @property
    def sizes(self) -> list[int]:
        """Number of rows of each worker."""
        return [end - start for start, end in itertools.pairwise(self.bounds)]

    def owned(self, start: int, stop: int) -> np.ndarray:
        """Returns this worker's rows among `start` to `stop` - 1, int64."""
        first, last = self.run
        first = max(first, start)
        return np.arange(first, max(first, min(last, stop)))

    def before(self, row: int) -> int:
        """Returns the number of this worker's rows below `row`."""
        first, last = self.run
        return min(max(row, first), last) - first


@dataclasses.dataclass(frozen=True)
class Piece:
    """A run of a weight's rows that is sent at once.

    Args:
        weight: number of the weight.
        start: first row.
        stop: row past the last.
        size: numbers in it.
    """

    weight: int
    start: int
    stop: int
    size: int


def cut(shapes: Sequence[Shape], count: int) -> list[Bounds]:
    """Returns the rows of each weight for each worker, cut to equal shares.

    The weights are laid end to end, and the line is cut into `count` equal
    parts, at the nearest row: at most `count` - 1 weights are cut.

    Args:
        shapes: shape of each weight, of at least one axis.
        count: number of workers.
    """
    total = sum(map(math.prod, shapes))
    bounds, offset = [], 0
    for shape in shapes:
        rows, row = shape[0], max(1, math.prod(shape[1:]))
        cuts = [
            min(max(round((total * worker / count - offset) / row), 0), rows)
            for worker in range(1, count)
        ]
        bounds.append((0, *cuts, rows))
        offset += rows * row
    return bounds


def whole(shapes: Sequence[Shape], count: int) -> list[Bounds]:
    """Returns the rows of each weight for each worker, all for one of them.

    The largest weight that is left goes to the worker with the least so far,
    the first of these: no worker has more than 4/3 of the least possible
    maximum (Graham's bound), which is not below the largest weight.

    Args:
        shapes: shape of each weight, of at least one axis.
        count: number of workers.
    """
    sizes = [math.prod(shape) for shape in shapes]
    loads = [(0, worker) for worker in range(count)]
    owners = [0] * len(sizes)
    for number in sorted(range(len(sizes)), key=lambda n: (-sizes[n], n)):
        load, owners[number] = loads[0]
        heapq.heapreplace(loads, (load + sizes[number], owners[number]))
    return [
        (0,) * (owner + 1) + (shape[0],) * (count - owner)
        for shape, owner in zip(shapes, owners, strict=True)
    ]


def rounds(
    shapes: Sequence[Shape], bounds: Sequence[Bounds], limit: int
) -> list[list[list[Piece]]]:
    """Returns the pieces that each worker sends in each round.

    A worker sends its rows in the order of the weights.

    Args:
        shapes: shape of each weight, of at least one axis.
        bounds: its rows for each worker.
        limit: numbers that a worker sends in a round at most, unless one row
            has more.

    Returns:
        A list [round][worker] of lists of pieces; a worker that has sent all
        of its rows has none.
    """
    count = len(bounds[0]) - 1 if bounds else 0
    by_worker = [
        list(_batches(shapes, [b[worker : worker + 2] for b in bounds], limit))
        for worker in range(count)
    ]
    most = max(map(len, by_worker), default=0)
    return [
        [batches[n] if n < len(batches) else [] for batches in by_worker]
        for n in range(most)
    ]


def _batches(shapes, runs, limit) -> Iterator[list[Piece]]:
    """Yields pieces of runs of weights that are sent together."""
    batch: list[Piece] = []
    left = limit
    for number, (start, last) in enumerate(runs):
        row = max(1, math.prod(shapes[number][1:]))
        while start < last:
            stop = min(last, start + left // row)
            if stop <= start and batch:
                yield batch
                batch, left = [], limit
                continue
            stop = max(stop, start + 1)
            piece = Piece(number, start, stop, (stop - start) * row)
            batch.append(piece)
            left -= piece.size
            start = stop
    if batch:
        yield batch
