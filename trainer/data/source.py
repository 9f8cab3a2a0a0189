"""The interface of all readers: rows addressed by epoch and step."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from wukong_tf.config import FeatureSpec
from wukong_tf.rows import Batch
from wukong_tf.rows.bad_values import Count

# (index of a part, number of parts), such as (1, 4).
Part = tuple[int, int]
ALL: Part = (0, 1)


class Source(Protocol):
    """The rows of one split.

    `batches` is a pure function of its arguments: the same epoch, step and
    batch size give the same rows in every process, so a run resumes by
    step number instead of by replay.
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
        """Yields a part of each batch of one epoch, from `first_step` on.

        Every batch has `batch_size` rows but the last, which has the rest.
        The parts of all workers, concatenated, are the batch. A part of the
        last batch may have no rows.
        """
        ...

    def sample(self, rows: int) -> pa.Table:
        """Returns the first rows in the form of requests."""
        ...


def steps_per_epoch(source: Source, batch_size: int) -> int:
    """Returns the batches in an epoch of `source`, with a short last one."""
    return -(-source.num_rows // batch_size)


def part_of(count: int, part: Part) -> tuple[int, int]:
    """Returns the range (start, stop) of `count` items in a part."""
    number, parts = part
    return number * count // parts, (number + 1) * count // parts


def lane_rows(num_rows: int, lanes: int, lane: int) -> tuple[int, int]:
    """Returns the range (start, stop) of a lane's rows."""
    return part_of(num_rows, (lane, lanes))


def sliced(batch: Batch, start: int, stop: int | None) -> Batch:
    """Returns rows [start, stop) of a batch, without a copy."""
    return {name: rows[start:stop] for name, rows in batch.items()}


def concatenated(batches: Sequence[Batch]) -> Batch:
    """Returns the rows of all batches; a single one is not copied."""
    if len(batches) == 1:
        return batches[0]
    return {
        name: np.concatenate([batch[name] for batch in batches])
        for name in batches[0]
    }


def spread(source: Source, rows: int, chunks: int = 8) -> Batch:
    """Returns rows from evenly spaced places of a source, in order.

    Bad values in them are not counted, as the source counts its own reading.

    Args:
        source: the rows, in file order.
        rows: maximum number of rows, 1 or more. If the source has no more,
            all of them are returned, else as many up to one chunk.
        chunks: number of places that are read. Defaults to 8.
    """
    reader: Any = copy.copy(source)
    if isinstance(getattr(source, "bad", None), Count):
        reader.bad = Count()
    if rows >= source.num_rows:
        rows, chunks = source.num_rows, 1
    size = -(-rows // chunks)
    steps = np.linspace(0, source.num_rows // size - 1, chunks).astype(int)
    batches = []
    for step in np.unique(steps):
        batches_from = reader.batches(size, first_step=int(step))
        with contextlib.closing(batches_from):
            batches.append(next(batches_from))
    return sliced(concatenated(batches), 0, rows)


def generator(*words: int) -> np.random.Generator:
    """Returns the random generator of a tuple of integers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def rows_of_step(source: Source, batch_size: int, step: int) -> int:
    """Returns the rows in the global batch of a step."""
    share = batch_size // source.lanes
    total = 0
    for lane in range(source.lanes):
        first, past = lane_rows(source.num_rows, source.lanes, lane)
        total += min(max(past - first - step * share, 0), share)
    return total
