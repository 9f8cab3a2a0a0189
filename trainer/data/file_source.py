"""Files as a source: streamed by block, checked, shuffled, sharded."""

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import tensorflow as tf

from trainer.data import samples
from trainer.data.paths import expand, refuse_text
from trainer.data.shuffling import Block, Piece, num_rows, shuffle_buffers
from trainer.data.source import (
    ALL,
    Part,
    concatenated,
    generator,
    lane_rows,
    part_of,
    sliced,
)
from wukong_tf import files
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError, one_line
from wukong_tf.rows import Batch, columns
from wukong_tf.rows.bad_values import REFUSE, BadValues, Count
from wukong_tf.rows.checks import checks_from_spec


class FileSource:
    """Reads the rows of files, in file order or shuffled.

    A shuffle buffer holds whole blocks, and the next one is read
    while this one is used, so about two are in memory, however large the
    files are. Shuffling permutes the blocks of all files, and then the rows
    within each buffer. The order is a pure function of seed and epoch, so
    any step can be read without those before it.

    The rows of an epoch, in the order of the blocks, are cut into `lanes`
    contiguous shards of equal length (up to one row), each with a shuffle
    buffer of shuffle_rows / lanes rows. A batch takes an equal share from
    every lane, lane by lane. A worker reads only the lanes that its part of
    the batches needs, and the global batches do not depend on the number of
    workers.

    Args:
        patterns: paths or globs.
        spec: specification of the columns.
        labels: whether to read label, weight and group columns. Defaults to
            True.
        shuffle_rows: a shuffle buffer takes blocks until it has this many
            rows; 0 reads in file order, a block at a time. Defaults to 0.
        seed: seed of the shuffled order, 0 or more. Defaults to 0.
        in_order: whether blocks keep the order of the files, and rows are
            shuffled only within buffers. Defaults to False.
        lanes: number of lanes, a divisor of batch sizes. Defaults to 1.
        bad: handles values that break a rule: a `Count` counts those of
            the buffers that were used. Defaults to raising an error.

    Attributes:
        paths: the files.
        num_rows: number of rows in all files.
        stamps: size and times of each file, to detect changes.
        digests: SHA-256 of the files that were hashed so far.

    Raises:
        DataError: a file is missing, empty, damaged, of another format or
            not prepared, a column is missing, repeated or of a wrong type,
            or there are no rows. While rows are read: a file was changed, or
            a value breaks its column's rule; the message names file, row,
            column, rule and value.
    """

    part = "block"

    def __init__(
        self,
        patterns: Sequence[str],
        spec: FeatureSpec,
        *,
        labels: bool = True,
        shuffle_rows: int = 0,
        seed: int = 0,
        in_order: bool = False,
        lanes: int = 1,
        bad: BadValues = REFUSE,
    ):
        if lanes < 1:
            raise ValueError(f"`lanes` must be at least 1; received {lanes}.")
        self.spec = spec
        # Rows without labels are read like requests: numbers may be missing.
        self.checks = checks_from_spec(spec, labels=labels, served=not labels)
        self.names = list(dict.fromkeys(check.name for check in self.checks))
        self.bad = bad
        self.lanes = lanes
        self._shuffle_rows = shuffle_rows
        self._seed = seed
        self._in_order = in_order
        self._metadata: dict[str, Any] = {}
        self.stamps: dict[str, tuple[int, ...]] = {}
        self.digests: dict[str, str] = {}
        self._blocks: list[Block] = []
        self.paths = expand(patterns)
        for path in self.paths:
            refuse_text(path)
            self.stamps[path] = stamp(path)
            self._blocks += self.open(path)
        self.num_rows = sum(block.num_rows for block in self._blocks)
        if self.num_rows == 0:
            raise DataError(f"{', '.join(patterns)}: there are no rows.")

    def open(self, path: str) -> Iterator[Block]:
        """Yields the blocks of a file after checking its columns.

        Raises:
            DataError: the file is invalid; the message names file and cause.
        """
        raise NotImplementedError

    def table(self, block: Block) -> pa.Table:
        """Returns the rows of a block, with the columns in `names`."""
        raise NotImplementedError

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Returns (min, max) of the columns whose files hold statistics."""
        return {}

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        first_step: int = 0,
        part: Part = ALL,
    ) -> Iterator[Batch]:
        """Yields the batches of one epoch; see `Source.batches`."""
        if batch_size % self.lanes:
            raise DataError(
                f"a batch of {batch_size} rows cannot be divided into "
                f"{self.lanes} equal shares."
            )
        share = batch_size // self.lanes
        steps = -(-self.num_rows // batch_size)
        with contextlib.ExitStack() as stack:
            streams = []
            for lane, start, stop in self._shares(share, part):
                # Each bad value is counted by only one worker.
                stream = self._lane(
                    epoch, lane, first_step * share, share, counts=start == 0
                )
                stack.enter_context(contextlib.closing(stream))
                streams.append((stream, start, stop))
            for _ in range(first_step, steps):
                shares = [
                    sliced(rows, start, stop)
                    for stream, start, stop in streams
                    if (rows := next(stream, None))
                ]
                # Other workers' lanes may be a row longer.
                yield concatenated(shares or [self._no_rows()])

    def _shares(self, share, part) -> Iterator[tuple[int, int, int]]:
        """Yields (lane, start, stop) of the rows in a part of a batch."""
        first, past = part_of(share * self.lanes, part)
        for lane in range(self.lanes):
            start, stop = first - lane * share, past - lane * share
            if start < share and stop > 0:
                yield lane, max(start, 0), min(stop, share)

    def sample(self, rows: int) -> pa.Table:
        """Returns the first rows of the files in the form of requests."""
        # Counted apart, since training reads these rows again.
        bad = self._part()
        tables, batches, left = [], [], rows
        for block in self._blocks:
            table = self._read_table(block).slice(0, left)
            tables.append(table)
            batches.append(self._checked(block, table, bad))
            left -= table.num_rows
            if not left:
                break
        return samples.request_table(
            self.spec, concatenated(batches), pa.concat_tables(tables)
        )

    def _lane(self, epoch, lane, skip, share, counts) -> Generator[Batch]:
        """Yields a lane's share of each batch, after its first `skip` rows."""
        buffers = list(enumerate(self._buffers(epoch, lane)))
        while buffers and skip >= num_rows(buffers[0][1]):
            skip -= num_rows(buffers.pop(0)[1])
        rest: Batch = {}
        for rows, bad in self._read_ahead(epoch, lane, buffers):
            if counts and isinstance(self.bad, Count):
                self.bad.add(bad, len(next(iter(rows.values()))))
            rows = sliced(rows, skip, None)
            skip = 0
            if rest:
                rows = concatenated([rest, rows])
            count = len(next(iter(rows.values())))
            whole = count - count % share
            for start in range(0, whole, share):
                yield sliced(rows, start, start + share)
            rest = sliced(rows, whole, None) if whole < count else {}
        if rest:
            yield rest

    def _buffers(self, epoch, lane) -> list[list[Piece]]:
        """Returns the pieces of each shuffle buffer of a lane, in order."""
        blocks = self._blocks
        if self._shuffle_rows and not self._in_order:
            order = generator(self._seed, epoch).permutation(len(blocks))
            blocks = [blocks[index] for index in order]
        rows = lane_rows(self.num_rows, self.lanes, lane)
        return shuffle_buffers(blocks, rows, self._shuffle_rows / self.lanes)

    def _read_ahead(self, epoch, lane, buffers):
        """Yields each buffer's rows and bad values; prefetches the next."""
        with ThreadPoolExecutor(1, "read-ahead") as executor:
            futures = (
                executor.submit(self._read_buffer, epoch, lane, number, pieces)
                for number, pieces in buffers
            )
            ahead = next(futures, None)
            while ahead is not None:
                now, ahead = ahead, next(futures, None)
                yield now.result()

    def _read_buffer(self, epoch, lane, number, pieces):
        """Returns a buffer's rows, shuffled, and its bad values."""
        bad = self._part()
        rows = concatenated([self._read_piece(piece, bad) for piece in pieces])
        if not self._shuffle_rows:
            return rows, bad
        words = [self._seed, epoch, number] + [lane] * (self.lanes > 1)
        order = generator(*words).permutation(num_rows(pieces))
        return {name: values[order] for name, values in rows.items()}, bad

    def _part(self) -> BadValues:
        """Returns a handler of bad values for some rows only."""
        return Count() if isinstance(self.bad, Count) else self.bad

    def _read_piece(self, piece, bad) -> Batch:
        # Rows of other lanes are checked and counted there.
        table = self._read_table(piece.block)
        table = table.slice(piece.start, piece.num_rows)
        return self._checked(piece.block, table, bad, piece.start)

    def _read_table(self, block):
        try:
            self._check_unchanged(block.path)
            table = self.table(block)
            self._check_unchanged(block.path)
            return table
        except (OSError, pa.ArrowException, tf.errors.OpError) as error:
            raise DataError(
                f"{block.path}: rows {block.first_row} to "
                f"{block.first_row + block.num_rows - 1} cannot be read: "
                f"{one_line(error)}"
            ) from error

    def _check_unchanged(self, path):
        now = stamp(path)
        if now == self.stamps[path]:
            return
        # Linking, copying or new permissions change only the times.
        if files.sha256(path) != self.digests.get(path):
            raise DataError(
                f"{path}: was changed while it was being read; the files of "
                "a run must not change until it has ended."
            )
        self.stamps[path] = now

    def _checked(self, block, table, bad, start=0) -> Batch:
        where = f"{block.path}: {self.part} {block.index}"
        return columns.read_table(
            where, block.first_row + start, table, self.spec, self.checks, bad
        )

    def _no_rows(self):
        table = self.table(self._blocks[0]).slice(0, 0)
        return self._checked(self._blocks[0], table, self.bad)


def stamp(path: str) -> tuple[int, ...]:
    """Returns a file's size, mtime and ctime, to detect changes.

    The ctime is set by the system and cannot be reset by programs.
    """
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
