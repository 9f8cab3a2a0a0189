"""Cuts the blocks of files into shuffle buffers."""

import dataclasses
from collections.abc import Iterable, Sequence


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive rows of one file that are read together.

    Args:
        path: the file.
        index: index of the block in its file.
        first_row: index, in the file, of its first row.
        num_rows: number of rows.
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
        start: first row within the block.
        stop: row after the last.
    """

    block: Block
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start


def num_rows(pieces: Iterable[Piece]) -> int:
    """Returns the number of rows of all pieces."""
    return sum(piece.num_rows for piece in pieces)


def shuffle_buffers(
    blocks: Sequence[Block], rows: tuple[int, int], size: float
) -> list[list[Piece]]:
    """Returns the pieces of blocks in each shuffle buffer, in order.

    Args:
        blocks: the blocks in the order in which they are read.
        rows: range (start, stop) of the rows to take, counted over `blocks`.
        size: a buffer takes blocks until it has this many rows.
    """
    first, past = rows
    buffers: list[list[Piece]] = []
    full, begin = True, 0
    for block in blocks:
        piece = Piece(
            block, max(first - begin, 0), min(past - begin, block.num_rows)
        )
        begin += block.num_rows
        if piece.num_rows <= 0:
            continue
        if full:
            buffers.append([])
        buffers[-1].append(piece)
        full = num_rows(buffers[-1]) >= size
    return buffers
