"""Headers, delimiters and byte ranges of text files."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator

import numpy as np

from trainer.preparation import records
from trainer.preparation.records import Layout
from wukong_tf.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
BOM = b"\xef\xbb\xbf"
# Errors by the first bytes of files that are not UTF-8 text.
_OTHERS = {
    b"\xff\xfe": "is UTF-16 or UTF-32 text; write it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; write it as UTF-8",
    b"\x00\x00\xfe\xff": "is UTF-32 text; write it as UTF-8",
    b"\x1f\x8b": "is compressed by gzip; its name must end in .gz",
    b"BZh": "is compressed by bzip2; decompress it, or use gzip",
    b"\xfd7zXZ": "is compressed by xz; decompress it, or use gzip",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; decompress it, or use gzip",
    b"PK\x03\x04": "is a ZIP file or a spreadsheet; write it as UTF-8 text",
    b"PAR1": "is a Parquet file; --dataset=parquet reads .parquet files",
}
# Errors if a file cannot be read or decompressed.
ERRORS = (OSError, EOFError, zlib.error)


def opened(path: str):
    """Opens a file for reading bytes, decompressed if it ends in .gz."""
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def header(path: str, layout: Layout) -> tuple[tuple[str, ...], int]:
    """Returns the names of a file's columns, and the offset of its rows.

    A column without a name is called "Unnamed: " and its index from 0, as in
    pandas.

    Raises:
        DataError: the file is not UTF-8 text, or its first line does not
            name the columns, each once.
    """
    head = _head(path, records.RECORD_BYTES)
    begin = len(BOM) if head.startswith(BOM) else 0
    if layout.names is not None:
        return layout.names, begin
    try:
        line = _first_record(head[begin:], layout)
    except records.BadLine as error:
        raise DataError(
            f"{path}: line {error.line}: {error.problem}."
        ) from error
    if not line.strip():
        problem = "line 1 is blank" if head.strip() else "there are no rows"
        raise DataError(f"{path}: {problem}.")
    try:
        (fields,) = _rows(line.decode("utf-8"), layout)
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: line 1: must be UTF-8 text that names the columns (is "
            f"it Latin-1?): {error}."
        ) from error
    names = tuple(
        name.strip() or f"Unnamed: {place}" for place, name in enumerate(fields)
    )
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"{path}: the first line names column {name!r} twice."
            )
    return names, begin + len(line)


def _head(path, size):
    """Reads the first bytes; raises DataError if the file is not UTF-8 text."""
    with opened(path) as stream:
        head = stream.read(size)
    for start, problem in _OTHERS.items():
        if head.startswith(start):
            raise DataError(f"{path}: {problem}.")
    return head


def _first_record(head, layout):
    ends, open_quote = records.record_ends(head, layout)
    stop = int(ends[0]) + 1 if len(ends) else len(head)
    if not len(ends) and len(head) + len(BOM) >= records.RECORD_BYTES:
        raise records.too_long(head, 0, open_quote, 1)
    if not len(ends) and open_quote is not None:
        raise records.BadLine(1, records.NEVER_CLOSED)
    line = head[:stop]
    if line.strip():
        records.checked(records.Block(line, 1, ends[:1]), layout)
    return line


def _rows(text, layout):
    """Returns the fields of each record of a text, by Python's csv module."""
    lines = io.StringIO(text, newline="")
    return list(
        csv.reader(
            lines,
            delimiter=layout.delimiter,
            quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
        )
    )


def detect_delimiter(path: str, default: str) -> str:
    """Returns the delimiter that gives the first lines equally many fields.

    Args:
        path: the file.
        default: the delimiter that its extension implies; tab, which only
            .tsv does, decides if it is one of several.

    Raises:
        DataError: several do, or none divides the first line.
    """
    head = _head(path, records.RECORD_BYTES // 4)
    whole = len(head) < records.RECORD_BYTES // 4
    text = head.removeprefix(BOM)
    fields: dict[str, list[int]] = {}
    for delimiter in DELIMITERS:
        layout = Layout(delimiter)
        ends, _ = records.record_ends(text, layout)
        stop = int(ends[99]) + 1 if len(ends) > 99 else None
        if stop is None and not whole and len(ends):
            stop = int(ends[-1]) + 1
        try:
            rows = _rows(text[:stop].decode("utf-8", "replace"), layout)
        except csv.Error:
            continue
        fields[delimiter] = [len(row) for row in rows if row]
    alike = [d for d, n in fields.items() if n and n[0] > 1 and len({*n}) == 1]
    if len(alike) == 1:
        return alike[0]
    if default == "\t" and default in alike:
        return default
    if alike:
        raise DataError(
            f"{path}: {' and '.join(map(repr, alike))} are both possible "
            "delimiters; set --delimiter."
        )
    several = [d for d, n in fields.items() if n and n[0] > 1]
    if several and default not in several:
        return several[0] if len(several) == 1 else default
    if head.strip() and not several and b"\0" not in head:
        raise DataError(
            f"{path}: the first line has only one field; set --delimiter."
        )
    return default


def ranges(path: str, layout: Layout, begin: int, size: int):
    """Yields byte ranges of about `size` bytes that hold whole records.

    Blank lines at the end of the file are skipped.

    Args:
        path: an uncompressed file.
        layout: layout of the file.
        begin: offset of the first record.
        size: bytes per range, extended to the end of the last record.

    Raises:
        DataError: as in `records.blocks`.
    """
    stop = _end_of_rows(path, begin)
    if not layout.quote:
        yield from _line_ranges(path, begin, stop, size)
        return
    start = place = begin
    blocks = (
        None
        if stop - begin <= size
        else records.blocks(
            path,
            pieces(path, begin, stop),
            layout,
            lambda: lines_before(path, begin),
        )
    )
    for block in blocks or ():
        end = place + len(block.text)
        while start + size < end:
            after = np.searchsorted(block.ends, start + size - place)
            if after == len(block.ends):
                break
            cut = place + int(block.ends[after]) + 1
            yield start, cut
            start = cut
        place = end
    if start < stop:
        yield start, stop


def _line_ranges(path, begin, stop, size):
    with open(path, "rb") as file:
        start = begin
        while start < stop:
            file.seek(min(start + size, stop))
            file.readline()  # to the end of the current line
            cut = min(file.tell(), stop)
            yield start, cut
            start = cut


def _end_of_rows(path, begin):
    """Returns the offset after a file's last line that is not blank."""
    stop = os.path.getsize(path)
    with open(path, "rb") as file:
        while stop > begin:
            start = max(begin, stop - 2**16)
            file.seek(start)
            tail = file.read(stop - start)
            last = len(tail.rstrip(b"\r\n"))
            if last:
                file.seek(start + last)
                return start + last + len(file.readline())
            stop = start
    return begin


def pieces(path: str, start: int, stop: int | None) -> Iterator[bytes]:
    """Yields the decompressed bytes of a file from `start` to `stop`."""
    with opened(path) as stream:
        if start:
            stream.seek(start)
        left = stop
        while left is None or left > start:
            wanted = (
                records.BLOCK
                if left is None
                else min(records.BLOCK, left - start)
            )
            piece = stream.read(wanted)
            if not piece:
                return
            start += len(piece)
            yield piece


def lines_before(path: str, stop: int) -> int:
    """Returns the number of line breaks before an offset of a file."""
    return sum(piece.count(b"\n") for piece in pieces(path, 0, stop))
