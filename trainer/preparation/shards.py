"""Cuts files into shards, and reads the rows of one."""

import contextlib
import dataclasses
import gzip
import os
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from wukong_tf.errors import DataError

CHUNK_ROWS = 262_144  # rows that are counted or encoded at once
PLACE = "\0place"  # no column's name holds NUL
_BLOCK = 2**24
_LINE = 2**22  # most bytes of a line


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the lines of a text file are read.

    Args:
        delimiter: between fields. Defaults to ",".
        names: of the columns of a file without a header. Defaults to None,
            the first line names them.
        quote: whether a field may stand in double quotes. Defaults to True.
        strip: what is cut off the end of fields, as a regular expression,
            such as ":1" of libFM's "17:1"; every field but the label must
            end so. Defaults to None.
    """

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    quote: bool = True
    strip: str | None = None


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file of a data set.

    Args:
        path: the file.
        split: "train", "valid" or "test"; "all" where rows are divided.
        layout: how it is read; None for Parquet.
        md5: of the published file. Defaults to None, not known.
    """

    path: str
    split: str
    layout: Layout | None
    md5: str | None = None


@dataclasses.dataclass(frozen=True)
class Shard:
    """A run of a file's rows.

    Args:
        number: of the shard, from 0.
        file: place of its file in the list of files.
        path: the file.
        split: the file's.
        layout: the file's.
        names: of the file's columns; None for Parquet.
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
    """The shards of some files, in order.

    A compressed file is one shard, as it cannot be entered in its middle.

    Raises:
        DataError: a file cannot be read or has no header.
    """
    shards: list[Shard] = []
    for number, file in enumerate(files):
        try:
            names, ranges = _ranges(file, shard_bytes)
        except (OSError, pa.ArrowException, EOFError) as error:
            raise DataError(f"{file.path}: {_one_line(error)}") from error
        shards += [
            Shard(
                len(shards) + place,
                number,
                file.path,
                file.split,
                file.layout,
                names,
                start,
                stop,
            )
            for place, (start, stop) in enumerate(ranges)
        ]
    return shards


def has_rows(file: InputFile) -> bool:
    """Returns whether a file holds more than a header and blank lines.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if file.layout is None:
            with pq.ParquetFile(file.path) as parquet:
                return parquet.metadata.num_rows > 0
        with _opened(file.path) as stream:
            # A header may stand in a file again, as where files were joined.
            header = b"" if file.layout.names else stream.readline(_LINE)
            while line := stream.readline(_LINE):
                if line.strip() not in (b"", header.strip()):
                    return True
        return False
    except (OSError, pa.ArrowException, EOFError) as error:
        raise DataError(f"{file.path}: {_one_line(error)}") from error


def _ranges(file, shard_bytes):
    if file.layout is None:
        return None, _row_groups(file.path, shard_bytes)
    names, begin = file.layout.names, 0
    if names is None:
        names, begin = _header(file)
    if file.path.endswith(".gz"):
        return names, [(begin, None)]
    return names, list(_line_ranges(file.path, begin, shard_bytes))


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


def _header(file):
    """The names in the first line, and the byte after it."""
    with _opened(file.path) as stream:
        line = stream.readline(_LINE)
    if not line.strip():
        raise DataError(f"{file.path}: there are no rows.")
    text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
    names = tuple(
        name.strip().strip('"') for name in text.split(file.layout.delimiter)
    )
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{file.path}: the first line names column {name!r} twice."
            )
    return names, len(line)


def _opened(path):
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def _line_ranges(path, begin, shard_bytes):
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = begin
        while start < size:
            file.seek(min(start + shard_bytes, size))
            file.readline()  # to the end of the line that is cut
            stop = file.tell()
            yield start, stop
            start = stop


def read(shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a shard, a few hundred thousand at a time.

    Args:
        shard: the shard.
        columns: names of the columns to read.

    Yields:
        Tables of these columns, strings where the file is text, and the
        column PLACE, each row's number in the shard before headers that
        stand in the file again were left out.

    Raises:
        DataError: a column is missing, or the file is no such text.
    """
    try:
        batches = (
            _text(shard, columns) if shard.layout else _parquet(shard, columns)
        )
        place = 0
        for table in _chunks(batches):
            numbers = pa.array(range(place, place + table.num_rows), pa.int64())
            place += table.num_rows
            yield _without_headers(
                shard, table.append_column(PLACE, numbers), columns
            )
    except (OSError, EOFError, pa.ArrowException, UnicodeError) as error:
        text = _one_line(error).rstrip(".")
        before = lines_before(shard)
        since = f" (rows counted from line {before + 1})" if before > 1 else ""
        raise DataError(f"{shard.path}: {text}{since}.") from error


def names_of(shard: Shard) -> Sequence[str]:
    """Returns the names of the columns of a shard's file."""
    if shard.names is not None:
        return shard.names
    try:
        return pq.read_schema(shard.path).names
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.path}: {_one_line(error)}") from error


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _parquet(shard, columns):
    with pq.ParquetFile(shard.path) as file:
        _check_names(shard, file.schema_arrow.names, columns)
        groups = list(range(shard.start, shard.stop))
        yield from file.iter_batches(row_groups=groups, columns=list(columns))


def _check_names(shard, names, columns):
    for name in columns:
        if name not in names:
            raise DataError(
                f"{shard.path}: column {name!r} is missing; there are "
                f"{', '.join(names)}."
            )


def _text(shard, columns):
    layout = shard.layout
    _check_names(shard, shard.names, columns)
    read_options = csv.ReadOptions(
        column_names=list(shard.names), use_threads=False, block_size=_BLOCK
    )
    parse_options = csv.ParseOptions(
        delimiter=layout.delimiter,
        quote_char='"' if layout.quote else False,
        ignore_empty_lines=False,
    )
    convert_options = csv.ConvertOptions(
        column_types=dict.fromkeys(shard.names, pa.string()),
        include_columns=list(columns),
        strings_can_be_null=False,
    )
    with _stream(shard) as stream:
        if stream is None:
            return
        with csv.open_csv(
            stream, read_options, parse_options, convert_options
        ) as reader:
            yield from reader


@contextlib.contextmanager
def _stream(shard):
    if shard.stop is not None:
        with open(shard.path, "rb") as file:
            file.seek(shard.start)
            content = file.read(shard.stop - shard.start)
        yield pa.BufferReader(content) if content else None
        return
    with (
        pa.OSFile(shard.path) as file,
        pa.CompressedInputStream(file, "gzip") as stream,
    ):
        if shard.start:
            stream.read(shard.start)
        yield stream


def _without_headers(shard, table, columns):
    """The rows without the header, where it stands in the file again."""
    if shard.layout is None or shard.layout.names is not None:
        return table
    again = None
    for name in columns:
        same = pc.equal(table[name], name)
        again = same if again is None else pc.and_(again, same)
    return table.filter(pc.invert(again)) if pc.any(again).as_py() else table


def lines_before(shard: Shard) -> int:
    """Lines, or rows of Parquet, before a shard's first row.

    Counted only where an error has to name a line.
    """
    if shard.layout is None:
        with pq.ParquetFile(shard.path) as file:
            return sum(
                file.metadata.row_group(index).num_rows
                for index in range(shard.start)
            )
    if shard.stop is None:
        return int(shard.layout.names is None)
    lines, left = 0, shard.start
    with open(shard.path, "rb") as file:
        while left > 0:
            block = file.read(min(left, _BLOCK))
            if not block:
                break
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def refuse(shard: Shard, table: pa.Table, row: int, column, rule, value):
    """Raises a DataError that names file, line, column, rule and value."""
    place = table[PLACE][row].as_py() + lines_before(shard)
    unit = "row" if shard.layout is None else "line"
    number = place if shard.layout is None else place + 1
    since = " (from 0)" if shard.layout is None else ""
    raise DataError(
        f"{shard.path}: {unit} {number}{since}, column {column!r}: must be "
        f"{rule}; received {value!r}."
    )


def _one_line(error):
    return " ".join(str(error).split())
