"""Cuts files into shards, and reads the rows of one."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from trainer.preparation import records, text_files
from trainer.preparation.records import Layout
from wukong_tf.arrow.errors import InvalidValue
from wukong_tf.arrow.texts import utf8
from wukong_tf.errors import DataError
from wukong_tf.names import alike

__all__ = [
    "CHUNK_ROWS",
    "InputFile",
    "Layout",
    "PLACE",
    "Shard",
    "has_rows",
    "lines_before",
    "names_of",
    "plan",
    "planned",
    "read",
    "refuse",
]

CHUNK_ROWS = 262_144  # rows that are counted or encoded at once
PLACE = "\0place"  # column names cannot contain NUL
_HEADER_COLUMNS = 4  # columns compared to recognize a repeated header


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
        try:
            names, ranges = _ranges(file, shard_bytes)
            for start, stop in ranges:
                yield Shard(
                    count,
                    number,
                    file.path,
                    file.split,
                    file.layout,
                    names,
                    start,
                    stop,
                )
                count += 1
        except (*text_files.ERRORS, pa.ArrowException) as error:
            raise DataError(f"{file.path}: {_one_line(error)}") from error


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
            if not _may_repeat(file.layout, names):
                header = b""
            while line := stream.readline(records.RECORD_BYTES):
                if line.strip() not in (b"", header):
                    return True
        return False
    except (*text_files.ERRORS, pa.ArrowException) as error:
        raise DataError(f"{file.path}: {_one_line(error)}") from error


def _ranges(file, shard_bytes):
    if file.layout is None:
        return None, _row_groups(file.path, shard_bytes)
    names, begin = text_files.header(file.path, file.layout)
    if file.path.endswith(".gz"):
        return names, [(begin, None)]
    found = text_files.ranges(file.path, file.layout, begin, shard_bytes)
    return names, found


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


def read(shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Reads the rows of a shard in chunks of about `CHUNK_ROWS`.

    Args:
        shard: the shard.
        columns: names of the columns to read.

    Yields:
        Tables of these columns, strings if the file is text, and the column
        PLACE, each row's index in the shard, which counts repeated headers
        although these are dropped.

    Raises:
        DataError: a column is missing, or the file is invalid.
    """
    try:
        more = _more_columns(shard, columns)
        batches = (
            _text(shard, [*columns, *more])
            if shard.layout
            else _parquet(shard, columns)
        )
        place = 0
        for table in _chunks(batches):
            numbers = pa.array(range(place, place + table.num_rows), pa.int64())
            place += table.num_rows
            table = table.append_column(PLACE, numbers)
            if shard.layout is not None:
                table = _decoded(shard, table, columns)
            table = _without_headers(shard, table, columns, more)
            yield table.drop_columns(more)
    except (*text_files.ERRORS, pa.ArrowException, UnicodeError) as error:
        text = _one_line(error).rstrip(".")
        raise DataError(f"{shard.path}: {text}.") from error


def _decoded(shard, table, columns):
    """Decodes columns of text as UTF-8."""
    for name in columns:
        try:
            texts = utf8(table[name].combine_chunks())
        except InvalidValue as error:
            refuse(shard, table, error.row, name, error.rule, error.value)
        place = table.column_names.index(name)
        table = table.set_column(place, name, texts)
    return table


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
        found = list(names).count(name)
        if found != 1:
            problem = "appears more than once" if found else "is missing"
            raise DataError(
                f"{shard.path}: column {name!r} {problem}; there are "
                f"{', '.join(names)}{alike(name, names)}."
            )


def _text(shard, columns):
    """Yields batches of the columns of a text file as raw bytes."""
    _check_names(shard, shard.names, columns)
    for block in _blocks(shard):
        yield from _parsed(shard, columns, block).to_batches()


def _blocks(shard):
    """Yields blocks of a text shard; lines are numbered within the shard."""
    return records.blocks(
        shard.path,
        text_files.pieces(shard.path, shard.start, shard.stop),
        shard.layout,
        lambda: lines_before(shard),
        blank_end=shard.stop is None,
    )


def _parsed(shard, columns, block):
    ragged: list[tuple[int, int]] = []

    def note(row):
        ragged.append((row.number, row.actual_columns))
        return "error"

    try:
        return csv.read_csv(
            pa.BufferReader(block.text),
            csv.ReadOptions(
                column_names=list(shard.names),
                use_threads=False,
                block_size=len(block.text),
            ),
            csv.ParseOptions(
                delimiter=shard.layout.delimiter,
                quote_char='"' if shard.layout.quote else False,
                newlines_in_values=shard.layout.quote,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(shard.names, pa.binary()),
                include_columns=list(columns),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if not ragged:
            raise
        number, fields = ragged[0]
        hint = " (is it another --delimiter?)" if fields == 1 else ""
        line = lines_before(shard) + block.line_of(number - 1)
        raise DataError(
            f"{shard.path}: line {line}: must have "
            f"{len(shard.names)} fields, one per column; received "
            f"{fields}{hint}."
        ) from error


def _more_columns(shard, columns):
    """Returns columns to read too, so that headers can be recognized."""
    if shard.layout is None or not _may_repeat(shard.layout, shard.names):
        return []
    others = [name for name in shard.names if name not in columns]
    return others[: max(0, _HEADER_COLUMNS - len(columns))]


def _without_headers(shard, table, columns, more):
    """Returns the rows without repeated headers."""
    if shard.layout is None or not _may_repeat(shard.layout, shard.names):
        return table
    again = None
    for name in columns:
        word = _header_word(name)
        cells = pc.utf8_trim_whitespace(pc.utf8_ltrim(table[name], "\ufeff"))
        same = pc.equal(cells, word)
        again = same if again is None else pc.and_(again, same)
        if not pc.any(again).as_py():
            return table
    rows = np.array(pc.invert(again))
    for row in np.flatnonzero(~rows).tolist():
        texts = [table[name][row].as_py() for name in more]
        words = [_header_word(name).encode() for name in more]
        rows[row] = words != [text.strip(b"\xef\xbb\xbf \t") for text in texts]
    return table.filter(pa.array(rows))


def _may_repeat(layout, names):
    """Returns whether repeated headers differ from rows of values."""
    return layout.names is None and len(names) > 1


def _header_word(name):
    return "" if name.startswith("Unnamed: ") else name


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


def _line_of(shard, place):
    """Returns the number of the line on which a row of a text file begins."""
    for block in _blocks(shard):
        if place < block.records:
            return lines_before(shard) + block.line_of(place)
        place -= block.records
    raise AssertionError(place)  # the file changed since it was read


def refuse(shard: Shard, table: pa.Table, row: int, column, rule, value):
    """Raises a DataError that names file, line, column, rule and value."""
    place = table[PLACE][row].as_py()
    if shard.layout is None:
        row_is = f"row {place + lines_before(shard)} (from 0)"
    else:
        row_is = f"line {_line_of(shard, place)}"
    raise DataError(
        f"{shard.path}: {row_is}, column {column!r}: must be {rule}; "
        f"received {value!r}."
    )


def _one_line(error):
    return " ".join(str(error).split())
