"""Files as a source: streamed by block, checked, shuffled, sharded."""

import contextlib
import dataclasses
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainer.data import samples
from trainer.data.paths import expand, refuse_text
from trainer.data.source import ALL, Part, lane_rows, part_of
from wukong_tf import files
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError
from wukong_tf.rows import Batch, columns
from wukong_tf.rows.bad_values import REFUSE, BadValues, Count
from wukong_tf.rows.checks import checks_of


@dataclasses.dataclass(frozen=True)
class Block:
    """A run of rows of one file that is read at once.

    Args:
        path: the file.
        index: of the block in its file.
        first_row: number, in the file, of its first row.
        num_rows: its rows.
    """

    path: str
    index: int
    first_row: int
    num_rows: int


@dataclasses.dataclass(frozen=True)
class Piece:
    """The rows of a block that belong to a lane.

    Args:
        block: the block.
        start: its first row in the block.
        stop: the row after its last.
    """

    block: Block
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """Its rows."""
        return self.stop - self.start


class FileSource:
    """The rows of some files, in a fixed or a shuffled order.

    Rows are read by windows of whole blocks, the next one while this one is
    used, so about two windows are in memory, however large the files are.
    Where rows are shuffled, the blocks of all files are put in random order,
    and then the rows of each window: a pure function of seed and epoch, so
    that any step can be read without those before it.

    The rows of an epoch, in the order of the blocks, are cut into `lanes` of
    equal length (but one row), each with windows of its own, of
    shuffle_rows / lanes rows. A batch takes an equal share from every lane,
    lane by lane. A worker reads the lanes alone that its part of the batches
    lies in, and the batches of all workers together are the same however many
    workers there are.

    Args:
        patterns: paths or globs.
        spec: what the columns must be.
        labels: whether label, weight and group columns are read.
        shuffle_rows: a window takes blocks until it has so many rows; 0
            reads in file order, a block at a time. Defaults to 0.
        seed: of the shuffled order, 0 or more. Defaults to 0.
        in_order: whether blocks stay in the order of the files, and rows
            are shuffled within windows alone. Defaults to False.
        lanes: number of lanes, a divisor of batch sizes. Defaults to 1.
        bad: says what to do with values that break a rule: a `Count`
            counts those of the windows that were used. Defaults to an error.

    Attributes:
        paths: the files.
        num_rows: rows of all of them.
        stamps: size and times of each file, by which a change is noticed.
        digests: SHA-256 of the files, as far as they are known.

    Raises:
        DataError: a file is missing, empty, no whole file of its format or
            one that has to be prepared, a column is missing, repeated or of
            a wrong type, or there are no rows. While rows are read: a file
            was changed, or a value breaks its column's rule; the message
            names file, row, column, rule and value.
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
        # Rows without labels are a request's, any number of which may miss.
        self.checks = checks_of(spec, labels=labels, served=not labels)
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
        """The blocks of a file, whose columns are checked.

        Raises:
            DataError: naming the file and what is wrong with it.
        """
        raise NotImplementedError

    def table(self, block: Block) -> pa.Table:
        """The rows of a block, with the columns in `names`."""
        raise NotImplementedError

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest number of each column, where files say."""
        return {}

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        first_step: int = 0,
        part: Part = ALL,
    ) -> Iterator[Batch]:
        """The batches of one epoch; see `Source.batches`."""
        if batch_size % self.lanes:
            raise DataError(
                f"a batch of {batch_size} rows cannot be cut into "
                f"{self.lanes} equal shares."
            )
        share = batch_size // self.lanes
        steps = -(-self.num_rows // batch_size)
        with contextlib.ExitStack() as stack:
            streams = []
            for lane, start, stop in self._shares(share, part):
                # Each bad value is counted by one worker alone.
                stream = self._lane(
                    epoch, lane, first_step * share, share, counts=start == 0
                )
                stack.enter_context(contextlib.closing(stream))
                streams.append((stream, start, stop))
            for _ in range(first_step, steps):
                found = [
                    _slice(rows, start, stop)
                    for stream, start, stop in streams
                    if (rows := next(stream, None))
                ]
                # The lanes of others may be a row longer.
                yield _concatenated(found or [self._no_rows()])

    def _shares(self, share, part) -> Iterator[tuple[int, int, int]]:
        """What of which lanes is a part of a batch: lane, start and stop."""
        first, past = part_of(share * self.lanes, part)
        for lane in range(self.lanes):
            start, stop = first - lane * share, past - lane * share
            if start < share and stop > 0:
                yield lane, max(start, 0), min(stop, share)

    def sample(self, rows: int) -> pa.Table:
        """The first rows of the files, as requests hold them."""
        # Rows that training reads again are not counted twice.
        bad = self._part()
        tables, batches, found = [], [], 0
        for block in self._blocks:
            table = self._read_table(block).slice(0, rows - found)
            tables.append(table)
            batches.append(self._checked(block, table, bad))
            found += table.num_rows
            if found == rows:
                break
        return samples.request_table(
            self.spec, _concatenated(batches), pa.concat_tables(tables)
        )

    def _lane(self, epoch, lane, skip, share, counts) -> Generator[Batch]:
        """The shares of a lane in each batch, its first `skip` rows left."""
        windows = list(enumerate(self._windows(epoch, lane)))
        while windows and skip >= _rows(windows[0][1]):
            skip -= _rows(windows.pop(0)[1])
        left: Batch = {}
        for window, bad in self._read_ahead(epoch, lane, windows):
            if counts:
                self._count(window, bad)
            window = _slice(window, skip, None)
            skip = 0
            if left:
                window = _concatenated([left, window])
            count = len(next(iter(window.values())))
            whole = count - count % share
            for start in range(0, whole, share):
                yield _slice(window, start, start + share)
            left = _slice(window, whole, None) if whole < count else {}
        if left:
            yield left

    def _windows(self, epoch, lane) -> list[list[Piece]]:
        """The pieces of blocks in each window of a lane, in order."""
        blocks = self._blocks
        if self._shuffle_rows and not self._in_order:
            order = self._generator(epoch).permutation(len(blocks))
            blocks = [blocks[index] for index in order]
        first, past = lane_rows(self.num_rows, self.lanes, lane)
        windows: list[list[Piece]] = []
        full, begin = True, 0
        for block in blocks:
            piece = Piece(
                block,
                max(first - begin, 0),
                min(past - begin, block.num_rows),
            )
            begin += block.num_rows
            if piece.num_rows <= 0:
                continue
            if full:
                windows.append([])
            windows[-1].append(piece)
            full = _rows(windows[-1]) * self.lanes >= self._shuffle_rows
        return windows

    def _read_ahead(self, epoch, lane, windows):
        """Each window's rows, and what was bad; the next is read meanwhile."""
        with ThreadPoolExecutor(1, "read-ahead") as executor:
            ahead = None
            for number, pieces in windows:
                now, ahead = (
                    ahead,
                    executor.submit(
                        self._read_window, epoch, lane, number, pieces
                    ),
                )
                if now is not None:
                    yield now.result()
            if ahead is not None:
                yield ahead.result()

    def _read_window(self, epoch, lane, number, pieces):
        """A window's rows, and what was bad in them."""
        bad = self._part()
        parts = [self._read_piece(piece, bad) for piece in pieces]
        window = _concatenated(parts)
        if not self._shuffle_rows:
            return window, bad
        words = (epoch, number) if self.lanes == 1 else (epoch, number, lane)
        order = self._generator(*words).permutation(_rows(pieces))
        return {name: rows[order] for name, rows in window.items()}, bad

    def _part(self) -> BadValues:
        """Counts for itself what is bad in some rows, or refuses it."""
        return Count() if isinstance(self.bad, Count) else self.bad

    def _count(self, window, bad):
        if isinstance(self.bad, Count):
            self.bad.add(bad, len(next(iter(window.values()))))

    def _read_piece(self, piece, bad) -> Batch:
        # Rows of other lanes are theirs to check and to count.
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
        found = stamp(path)
        if found == self.stamps[path]:
            return
        # A link, new permissions or a copy of it change only its times.
        if files.sha256(path) != self.digests.get(path):
            raise DataError(
                f"{path}: was changed while it was being read; a "
                "run's files must stay as they are until it has ended."
            )
        self.stamps[path] = found

    def _checked(self, block, table, bad, start=0) -> Batch:
        where = f"{block.path}: {self.part} {block.index}"
        return columns.read_table(
            where, block.first_row + start, table, self.spec, self.checks, bad
        )

    def _no_rows(self):
        table = self.table(self._blocks[0]).slice(0, 0)
        return self._checked(self._blocks[0], table, self.bad)

    def _generator(self, *words):
        words = (self._seed, *words)
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(words))
        )


def one_line(error: Exception) -> str:
    """An error's text without its line breaks."""
    return " ".join(str(error).split())


def stamp(path: str) -> tuple[int, ...]:
    """Returns what changes with a file: its size, and its two times.

    The second is the system's, which no program sets back.
    """
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _rows(pieces):
    return sum(piece.num_rows for piece in pieces)


def _slice(batch, start, stop):
    return {name: rows[start:stop] for name, rows in batch.items()}


def _concatenated(parts):
    if len(parts) == 1:
        return parts[0]
    return {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
