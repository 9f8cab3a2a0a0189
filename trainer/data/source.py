"""What every reader gives the trainer: rows addressed by epoch and step."""

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from wukong_tf.config import FeatureSpec
from wukong_tf.rows import Batch

# (number of a part, from 0, and how many there are): worker 1 of 4.
Part = tuple[int, int]
ALL: Part = (0, 1)


class Source(Protocol):
    """The rows of one split.

    `batches` is a pure function of its arguments: the same epoch, step and
    batch size give the same rows in every process, so a run resumes by
    number instead of by replay.
    """

    spec: FeatureSpec
    num_rows: int
    lanes: int

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        first_step: int = 0,
        part: Part = ALL,
    ) -> Iterator[Batch]:
        """The batches of one epoch, from `first_step` to its last.

        Every batch has `batch_size` rows but the last, which has the rest.
        Of each it gives one part; the parts of all workers, one after the
        other, are the batch. A part of the last one may have no rows.
        """
        ...

    def sample(self, rows: int) -> pa.Table:
        """The first rows, as requests hold them."""
        ...


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Number of batches in one epoch of `source`, a short last one too."""
    return -(-source.num_rows // batch_size)


def part_of(count: int, part: Part) -> tuple[int, int]:
    """The first of `count` things in a part, and the one after its last."""
    number, parts = part
    return number * count // parts, (number + 1) * count // parts


def lane_rows(num_rows: int, lanes: int, lane: int) -> tuple[int, int]:
    """The first of a lane's rows and the one after its last."""
    return part_of(num_rows, (lane, lanes))


def rows_of_step(source: Source, batch_size: int, step: int) -> int:
    """Rows of a batch of all workers together."""
    share = batch_size // source.lanes
    total = 0
    for lane in range(source.lanes):
        first, past = lane_rows(source.num_rows, source.lanes, lane)
        total += min(max(past - first - step * share, 0), share)
    return total
