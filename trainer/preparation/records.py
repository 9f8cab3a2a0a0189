"""Reads text files in blocks of whole records with line numbers.

A record is a row: one line, or several if a field in double quotes holds line
breaks. Quotes follow the rules of Python's csv module and of pyarrow, which
parses the blocks: a quote opens a field only at the field's beginning.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from wukong_tf.errors import DataError

BLOCK = 2**24
RECORD_BYTES = 2**22  # maximum bytes of a record
NEVER_CLOSED = "a quoted field is never closed"
_QUOTE, _LF = ord('"'), ord("\n")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The format of a text file.

    Args:
        delimiter: delimiter of fields. Defaults to ",".
        names: names of the columns of a file without a header. Defaults to
            None, the first line names them.
        quote: whether fields may be in double quotes. Defaults to True.
        strip: regular expression of a suffix to cut off, such as ":1" of
            libFM's "17:1"; every field except the label must end with it.
            Defaults to None.
    """

    delimiter: str = ","
    names: tuple[str, ...] | None = None
    quote: bool = True
    strip: str | None = None


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole records of a text file.

    Args:
        text: the records, with their line ends.
        line: number of the first line in its file, from 1.
        ends: positions of the records' line ends, ascending.
    """

    text: bytes
    line: int
    ends: np.ndarray

    @property
    def records(self) -> int:
        """Number of records."""
        return len(self.ends) + (not self.text.endswith(b"\n"))

    def line_of(self, record: int) -> int:
        """Returns the number of the line on which a record begins."""
        start = int(self.ends[record - 1]) + 1 if record else 0
        return self.line + self.text.count(b"\n", 0, start)


def blocks(
    where: str,
    pieces: Iterable[bytes],
    layout: Layout,
    before: Callable[[], int] = lambda: 0,
    *,
    blank_end: bool = False,
) -> Iterator[Block]:
    """Yields blocks of whole records, their lines numbered from 1.

    Args:
        where: names the file in errors.
        pieces: its bytes, from the beginning of a record on.
        layout: format of the file.
        before: returns the number of lines before these bytes, for an
            error. Defaults to returning 0.
        blank_end: whether blank lines may follow the last record. Defaults
            to False.

    Raises:
        DataError: a record is too long, a quote is never closed, a line is
            blank, or a byte is invalid in text; the message names file and
            line.
    """
    try:
        yield from _blocks(pieces, layout, blank_end)
    except BadLine as error:
        line = before() + error.line
        raise DataError(f"{where}: line {line}: {error.problem}.") from error


class BadLine(Exception):
    """A line is invalid.

    Args:
        line: its number, from 1.
        problem: text on what is wrong with it.
    """

    def __init__(self, line, problem):
        super().__init__(line, problem)
        self.line, self.problem = line, problem


def _blocks(pieces, layout, blank_end):
    rest, line = b"", 1
    for piece in pieces:
        rest += piece
        ends, open_quote = record_ends(rest, layout)
        stop = int(ends[-1]) + 1 if len(ends) else 0
        if len(rest) - stop > RECORD_BYTES:
            raise too_long(rest, stop, open_quote, line)
        if blank_end:  # blank lines are kept for the next piece
            stop = _without_blank_end(rest, stop)
        if stop:
            ends = ends[: np.searchsorted(ends, stop)]
            yield checked(Block(rest[:stop], line, ends), layout)
            line += rest.count(b"\n", 0, stop)
            rest = rest[stop:]
    if blank_end:
        rest = rest[: _without_blank_end(rest, len(rest))]
    ends, open_quote = record_ends(rest, layout)
    if open_quote is not None:
        line += rest.count(b"\n", 0, open_quote)
        raise BadLine(line, NEVER_CLOSED)
    if rest:
        yield checked(Block(rest, line, ends), layout)


def record_ends(text: bytes, layout: Layout) -> tuple[np.ndarray, int | None]:
    """Returns the positions of the line breaks that end records.

    Args:
        text: bytes, from the beginning of a record on.
        layout: format of the file.

    Returns:
        The positions, ascending, and the position of a quote that is still
        open at the end, or None.
    """
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _LF)
    quotes = _quotes(text, layout)
    inside = np.searchsorted(quotes, ends) % 2 == 1
    return ends[~inside], int(quotes[-1]) if len(quotes) % 2 else None


def _quotes(text, layout):
    """Returns the positions of opening and closing quotes, in turn."""
    if not layout.quote or b'"' not in text:
        return np.empty(0, np.int64)
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    before = codes[quotes[::2] - 1]
    good = (before == ord(layout.delimiter)) | (before == _LF)
    # A quote after a quote is the second of an escaped pair.
    good |= (before == _QUOTE) | (quotes[::2] == 0)
    return quotes if good.all() else _field_quotes(text, quotes, layout)


def _field_quotes(text, quotes, layout):
    """Returns those of `quotes` that open and close fields."""
    marks = (_LF, ord(layout.delimiter))
    places, place, pairs = quotes.tolist(), 0, []
    while place < len(places):
        at = places[place]
        place += 1
        if at and text[at - 1] not in marks:
            continue  # inside an unquoted field
        pairs.append(at)
        while place + 1 < len(places) and places[place + 1] == (
            places[place] + 1
        ):
            place += 2  # a pair is an escaped quote
        if place < len(places):
            pairs.append(places[place])
            place += 1
    return np.array(pairs, np.int64)


def _without_blank_end(text, stop):
    """Returns the end of the last line before `stop` that is not blank."""
    last = len(text[:stop].rstrip(b"\r\n"))
    if not last:
        return 0
    line_end = text.find(b"\n", last, stop)
    return stop if line_end < 0 else line_end + 1


def checked(block, layout):
    """Returns the block; raises BadLine if a line or byte is invalid."""
    text = block.text
    if b"\0" in text:
        line = block.line + text.count(b"\n", 0, text.index(b"\0"))
        raise BadLine(
            line,
            "contains a NUL byte, which text must not (is it UTF-16, or "
            "binary?)",
        )
    if text.count(b"\r") != text.count(b"\r\n"):
        _refuse_carriage_returns(block, layout)
    lengths = np.diff(block.ends, prepend=-1)
    short = np.flatnonzero(lengths <= 2)
    for record in short:
        end = int(block.ends[record])
        if lengths[record] == 1 or text[end - 1 : end] == b"\r":
            raise BadLine(
                block.line_of(int(record)),
                "is blank; only lines at the end of a file may be",
            )
    return block


def _refuse_carriage_returns(block, layout):
    codes = np.frombuffer(block.text, np.uint8)
    places = np.flatnonzero(codes == ord("\r"))
    following = codes[np.minimum(places + 1, len(codes) - 1)]
    places = places[following != _LF]
    quotes = _quotes(block.text, layout)
    places = places[np.searchsorted(quotes, places) % 2 == 0]
    if len(places):
        line = block.line + block.text.count(b"\n", 0, int(places[0]))
        raise BadLine(
            line,
            "a carriage return (CR) without a line feed (LF) outside quotes; "
            "lines end in LF or CR LF",
        )


def too_long(text: bytes, stop: int, open_quote: int | None, line: int):
    """Returns the error of a record that is too long.

    Args:
        text: bytes that include the record.
        stop: position in `text` at which it begins.
        open_quote: position of a quote that is open at the end, or None.
        line: number of the first line of `text`.
    """
    line += text.count(b"\n", 0, stop)
    reason = "lines end in LF or CR LF"
    if open_quote is not None:
        reason = "its quote may never be closed"
    return BadLine(line, f"a row of more than {RECORD_BYTES:,} bytes; {reason}")
