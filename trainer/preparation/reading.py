"""Reads the rows of a shard."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from trainer.preparation import records, text_files
from trainer.preparation.shards import (
    Shard,
    lines_before,
    may_repeat_header,
)
from wukong_tf.arrow.errors import InvalidValue
from wukong_tf.arrow.texts import utf8
from wukong_tf.errors import DataError, one_line
from wukong_tf.names import alike

CHUNK_ROWS = 262_144  # rows that are counted or encoded at once
PLACE = "\0place"  # column names cannot contain NUL
_HEADER_COLUMNS = 4  # columns compared to recognize a repeated header


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
        read_batches = _text if shard.layout else _parquet
        batches = read_batches(shard, [*columns, *more])
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
        text = one_line(error).rstrip(".")
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


def _chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    chunk: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        chunk.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield pa.Table.from_batches(chunk)
            chunk, rows = [], 0
    if chunk:
        yield pa.Table.from_batches(chunk)


def _parquet(shard, columns):
    with pq.ParquetFile(shard.path) as file:
        _check_names(shard, file.schema_arrow.names, columns)
        groups = list(range(shard.start, shard.stop))
        yield from file.iter_batches(row_groups=groups, columns=list(columns))


def _check_names(shard, names, columns):
    for name in columns:
        count = list(names).count(name)
        if count != 1:
            problem = "appears more than once" if count else "is missing"
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

    text = block.text
    if text.startswith(text_files.BOM):
        text = text_files.BOM + text  # Arrow skips one; this one is a value's
    try:
        return csv.read_csv(
            pa.BufferReader(text),
            csv.ReadOptions(
                column_names=list(shard.names),
                use_threads=False,
                block_size=len(text),
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
    if shard.layout is None or not may_repeat_header(shard.layout, shard.names):
        return []
    others = [name for name in shard.names if name not in columns]
    return others[: max(0, _HEADER_COLUMNS - len(columns))]


def _without_headers(shard, table, columns, more):
    """Returns the rows without repeated headers."""
    if shard.layout is None or not may_repeat_header(shard.layout, shard.names):
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


def _header_word(name):
    return "" if name.startswith("Unnamed: ") else name


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
