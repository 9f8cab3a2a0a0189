"""Cuts files into shards of consecutive rows."""

import dataclasses
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.preparation import records, text_files
from trainer.preparation.records import Layout
from wukong_tf.errors import DataError, one_line


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file of a data set.

    Args:
        path: the file.
        split: "train", "valid" or "test"; "all" if rows are divided.
        layout: layout of text; None for Parquet.
        md5: MD5 of the published file. Defaults to None, unknown.
    """

    path: str
    split: str
    layout: Layout | None
    md5: str | None = None


@dataclasses.dataclass(frozen=True)
class Shard:
    """Consecutive rows of a file.

    Args:
        number: index of the shard, from 0.
        file: index of its file in the list of files.
        path: the file.
        split: split of the file.
        layout: layout of the file.
        names: names of the file's columns; None for Parquet.
        start: first byte of a text file, or row group of a Parquet file.
        stop: the one after the last; None for all of a compressed file.
    """

    number: int
    file: int
    path: str
    split: str
    layout: Layout | None
    names: tuple[str, ...] | None
    start: int
    stop: int | None


def plan(files: Sequence[InputFile], shard_bytes: int) -> list[Shard]:
    """Returns the shards of some files, in order.

    A compressed file is one shard, as reading cannot start in its middle.

    Raises:
        DataError: a file cannot be read or has no header.
    """
    return list(planned(files, shard_bytes))


def planned(files: Sequence[InputFile], shard_bytes: int) -> Iterator[Shard]:
    """Yields the shards of `plan`, reading files only as far as needed."""
    count = 0
    for number, file in enumerate(files):
        origin = (number, file.path, file.split, file.layout)
        try:
            names, ranges = _ranges(file, shard_bytes)
            for start, stop in ranges:
                yield Shard(count, *origin, names, start, stop)
                count += 1
        except (*text_files.ERRORS, pa.ArrowException) as error:
            raise DataError(f"{file.path}: {one_line(error)}") from error


def has_rows(file: InputFile) -> bool:
    """Returns whether a file holds more than a header and blank lines.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        if file.layout is None:
            with pq.ParquetFile(file.path) as parquet:
                return parquet.metadata.num_rows > 0
        if not any(map(bytes.strip, text_files.pieces(file.path, 0, None))):
            return False
        names, begin = text_files.header(file.path, file.layout)
        with text_files.opened(file.path) as stream:
            # Concatenated files may repeat the header.
            header = stream.read(begin).strip()
            if not may_repeat_header(file.layout, names):
                header = b""
            while line := stream.readline(records.RECORD_BYTES):
                if line.strip() not in (b"", header):
                    return True
        return False
    except (*text_files.ERRORS, pa.ArrowException) as error:
        raise DataError(f"{file.path}: {one_line(error)}") from error


def _ranges(file, shard_bytes):
    if file.layout is None:
        return None, _row_groups(file.path, shard_bytes)
    names, begin = text_files.header(file.path, file.layout)
    if file.path.endswith(".gz"):
        return names, [(begin, None)]
    ranges = text_files.ranges(file.path, file.layout, begin, shard_bytes)
    return names, ranges


def _row_groups(path, shard_bytes):
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        start, size, ranges = 0, 0, []
        for index in range(metadata.num_row_groups):
            size += metadata.row_group(index).total_byte_size
            if size >= shard_bytes or index == metadata.num_row_groups - 1:
                ranges.append((start, index + 1))
                start, size = index + 1, 0
    return ranges


def names_of(shard: Shard) -> Sequence[str]:
    """Returns the names of the columns of a shard's file."""
    if shard.names is not None:
        return shard.names
    try:
        return pq.read_schema(shard.path).names
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.path}: {one_line(error)}") from error


def lines_before(shard: Shard) -> int:
    """Returns the lines, or rows of Parquet, before a shard's first row.

    They are counted only if an error has to name a line.
    """
    if shard.layout is None:
        with pq.ParquetFile(shard.path) as file:
            return sum(
                file.metadata.row_group(index).num_rows
                for index in range(shard.start)
            )
    return text_files.lines_before(shard.path, shard.start)


def may_repeat_header(layout: Layout, names: Sequence[str]) -> bool:
    """Returns whether repeated headers differ from rows of values."""
    return layout.names is None and len(names) > 1
