"""Parquet files as a source: streamed by row group, checked, shuffled."""

import dataclasses
import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data import columns
from trainer.data.source import Batch
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """One row group of one file.

    Args:
        path: the file.
        index: of the row group in its file.
        first_row: number, in the file, of its first row.
        num_rows: its rows.
    """

    path: str
    index: int
    first_row: int
    num_rows: int


class ParquetSource:
    """The rows of some Parquet files, in a fixed or a shuffled order.

    Rows are read by windows of whole row groups, the next one while this one
    is used, so about two windows are in memory, however large the files are.
    Where rows are shuffled, the row groups of all files are put in random
    order, and then the rows of each window: a pure function of seed and
    epoch, so that any step can be read without those before it.

    Args:
        files: paths or globs.
        spec: what the columns must be.
        labels: whether label, weight and group columns are read.
        shuffle_rows: a window takes row groups until it has so many rows;
            0 reads in file order, a row group at a time. Defaults to 0.
        seed: of the shuffled order, 0 or more. Defaults to 0.

    Raises:
        DataError: a file is missing or no whole Parquet file, a column is
            missing or of a wrong type, or there are no rows. While rows are
            read: a value breaks its column's rule; the message names file,
            row, column, rule and value.
    """

    def __init__(
        self,
        files: Sequence[str],
        spec: FeatureSpec,
        *,
        labels: bool = True,
        shuffle_rows: int = 0,
        seed: int = 0,
    ):
        self.spec = spec
        self._checks = columns.checks(spec, labels=labels)
        self._shuffle_rows = shuffle_rows
        self._seed = seed
        self._metadata: dict[str, pq.FileMetaData] = {}
        self._groups: list[RowGroup] = []
        for path in expand(files):
            self._open(path)
        self.num_rows = sum(group.num_rows for group in self._groups)
        if self.num_rows == 0:
            raise DataError(f"{', '.join(files)}: there are no rows.")

    def _open(self, path):
        try:
            with pq.ParquetFile(path) as file:
                metadata, schema = file.metadata, file.schema_arrow
        except (OSError, pa.ArrowException, UnicodeError) as error:
            raise DataError(
                f"{path}: cannot be read as Parquet: {_one_line(error)}"
            ) from error
        for check in self._checks:
            columns.check_type(path, schema, check)
        self._metadata[path] = metadata
        first_row = 0
        for index in range(metadata.num_row_groups):
            num_rows = metadata.row_group(index).num_rows
            if num_rows:
                self._groups.append(RowGroup(path, index, first_row, num_rows))
            first_row += num_rows
        if first_row != metadata.num_rows:
            raise DataError(
                f"{path}: is damaged: it should have {metadata.num_rows} "
                f"rows, but its row groups have {first_row}."
            )

    def batches(
        self, batch_size: int, *, epoch: int = 0, first_step: int = 0
    ) -> Iterator[Batch]:
        """The batches of one epoch; see `Source.batches`."""
        windows = list(enumerate(self._windows(epoch)))
        skip = first_step * batch_size
        while windows and skip >= _rows(windows[0][1]):
            skip -= _rows(windows.pop(0)[1])
        left: Batch = {}
        for window in self._read_ahead(epoch, windows):
            window = _slice(window, skip, None)
            skip = 0
            if left:
                window = {
                    name: np.concatenate([left[name], rows])
                    for name, rows in window.items()
                }
            count = len(next(iter(window.values())))
            whole = count - count % batch_size
            for start in range(0, whole, batch_size):
                yield _slice(window, start, start + batch_size)
            left = _slice(window, whole, None) if whole < count else {}
        if left:
            yield left

    def _windows(self, epoch) -> list[list[RowGroup]]:
        """The row groups of each window of an epoch, in order."""
        groups = self._groups
        if self._shuffle_rows:
            order = self._generator(epoch).permutation(len(groups))
            groups = [groups[index] for index in order]
        windows: list[list[RowGroup]] = []
        full = True
        for group in groups:
            if full:
                windows.append([])
            windows[-1].append(group)
            full = _rows(windows[-1]) >= self._shuffle_rows
        return windows

    def _read_ahead(self, epoch, windows) -> Iterator[Batch]:
        """The rows of each window; the next is read while one is used."""
        with ThreadPoolExecutor(1, "read-ahead") as executor:
            ahead = None
            for number, groups in windows:
                now, ahead = (
                    ahead,
                    executor.submit(self._read_window, epoch, number, groups),
                )
                if now is not None:
                    yield now.result()
            if ahead is not None:
                yield ahead.result()

    def _read_window(self, epoch, number, groups) -> Batch:
        parts = [self._read_group(group) for group in groups]
        window = {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }
        if not self._shuffle_rows:
            return window
        order = self._generator(epoch, number).permutation(_rows(groups))
        return {name: rows[order] for name, rows in window.items()}

    def _read_group(self, group: RowGroup) -> Batch:
        names = list(dict.fromkeys(check.name for check in self._checks))
        try:
            with pq.ParquetFile(
                group.path, metadata=self._metadata[group.path]
            ) as file:
                table = file.read_row_group(group.index, columns=names)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{group.path}: rows {group.first_row} to "
                f"{group.first_row + group.num_rows - 1} cannot be read: "
                f"{_one_line(error)}"
            ) from error
        batch = {
            check.name: columns.read(
                group.path, group.first_row, table[check.name], check
            )
            # A column with two roles is kept as the first, a feature.
            for check in reversed(self._checks)
        }
        columns.match_weights(group.path, group.first_row, self.spec, batch)
        return batch

    def _generator(self, *words):
        words = (self._seed, *words)
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(words))
        )


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


def _rows(groups):
    return sum(group.num_rows for group in groups)


def _slice(batch, start, stop):
    return {name: rows[start:stop] for name, rows in batch.items()}


def _one_line(error):
    return " ".join(str(error).split())
