"""Joins requests that wait at the same time into one computation."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from export.version.engines import Columns, Engine, Refused


class Overloaded(Exception):
    """More rows wait than may."""

    def __init__(self, waiting: int, allowed: int):
        super().__init__(
            f"{waiting} rows wait already; {allowed} may (--max_waiting_rows)."
        )


@dataclasses.dataclass
class _Waiting:
    """A request, and how much of it has been computed."""

    columns: Columns
    rows: int
    answer: asyncio.Future
    first: int = 0
    outputs: list[Columns] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> int:
        return self.rows - self.first


@dataclasses.dataclass
class _Piece:
    """Rows of one request that go into one computation."""

    request: _Waiting
    columns: Columns
    rows: int
    first: int

    def named(self, error: Exception) -> Exception:
        """Returns an error that says which rows it counts from."""
        if self.first and isinstance(error, Refused):
            return Refused(f"rows from {self.first} (from 0): {error}")
        return error


class Batcher:
    """Runs the requests of one signature, several at once.

    A request that finds nothing running is run alone and at once; those
    that come meanwhile wait and go together. So joining costs a lone
    request nothing. A request with more rows than a computation takes is
    cut, and those that wait go between its pieces. If a joined computation
    fails, its requests are run one by one, so that the others do not suffer.

    Args:
        engine: the model.
        signature: its name.
        executor: its threads compute.
        max_rows: rows of one computation.
        max_waiting: rows that may wait.
        joins: whether requests may go together.
        note: called with the rows of each computation.
    """

    def __init__(
        self,
        engine: Engine,
        signature: str,
        executor: Executor,
        *,
        max_rows: int,
        max_waiting: int,
        joins: bool = True,
        note: Callable[[int], None] = lambda rows: None,
    ):
        self._engine = engine
        self._signature = signature
        self._executor = executor
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._joins = joins
        self._note = note
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._running = False
        self._tasks: set[asyncio.Task] = set()
        self.waiting_rows = 0

    @property
    def waiting_requests(self) -> int:
        """Requests that wait, or of which a part does."""
        return len(self._queue)

    async def run(self, columns: Columns, rows: int) -> Columns:
        """The outputs of a request.

        Raises:
            Overloaded: too many rows wait.
            Refused: the model refuses the request.
        """
        if self.waiting_rows and (self.waiting_rows + rows > self._max_waiting):
            raise Overloaded(self.waiting_rows, self._max_waiting)
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(columns, rows, answer))
        self.waiting_rows += rows
        if not self._running:
            self._running = True
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _work(self):
        """Runs what waits until nothing does."""
        try:
            while self._queue:
                pieces = self._taken()
                if pieces:
                    await self._run(pieces)
        finally:
            self._running = False

    def _taken(self) -> list[_Piece]:
        """The next rows that go together."""
        pieces: list[_Piece] = []
        rows = 0
        while self._queue:
            request = self._queue[0]
            if request.answer.done():  # the client has gone, or was refused
                self._queue.popleft()
                self.waiting_rows -= request.left
                continue
            count = min(request.left, self._max_rows)
            if pieces and not (self._joins and rows + count <= self._max_rows):
                break
            self._queue.popleft()
            pieces.append(self._cut(request, count))
            rows += count
            self.waiting_rows -= count
            if request.left:  # those that wait go before its next piece
                self._queue.append(request)
                break
        return pieces

    def _cut(self, request: _Waiting, count: int) -> _Piece:
        """The next rows of a request; its context goes with each."""
        columns = request.columns
        if count < request.rows:
            context = self._engine.forms[self._signature].context
            rows = slice(request.first, request.first + count)
            columns = {
                name: value if name in context else value[rows]
                for name, value in columns.items()
            }
        request.first += count
        return _Piece(request, columns, count, request.first - count)

    async def _run(self, pieces: list[_Piece]):
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(
                self._executor, self._compute, pieces
            )
        except Exception as error:  # noqa: BLE001 the client gets it
            if len(pieces) > 1:
                for piece in pieces:
                    await self._run([piece])
            elif not pieces[0].request.answer.done():
                pieces[0].request.answer.set_exception(pieces[0].named(error))
            return
        for piece, output in zip(pieces, outputs, strict=True):
            request = piece.request
            request.outputs.append(output)
            if not request.left and not request.answer.done():
                request.answer.set_result(_joined(request.outputs))

    def _compute(self, pieces: list[_Piece]) -> list[Columns]:
        """The outputs of each piece, in a thread."""
        columns = _joined([piece.columns for piece in pieces])
        self._note(sum(piece.rows for piece in pieces))
        outputs = self._engine.run(self._signature, columns)
        if len(pieces) == 1:
            return [outputs]
        ends = np.cumsum([piece.rows for piece in pieces])[:-1]
        parts = {name: np.split(value, ends) for name, value in outputs.items()}
        return [
            {name: split[place] for name, split in parts.items()}
            for place in range(len(pieces))
        ]


def _joined(parts: list[Columns]) -> Columns:
    """Columns below one another."""
    if len(parts) == 1:
        return parts[0]
    return {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
