"""Dynamic batching: joins waiting requests into one computation."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from export.version.engines import Columns, Engine, Refused


class Overloaded(Exception):
    """Raised if more rows would wait than allowed."""

    def __init__(self, waiting: int, allowed: int):
        super().__init__(
            f"{waiting} rows are already waiting; at most {allowed} may "
            "(--max_waiting_rows)."
        )


@dataclasses.dataclass
class _Waiting:
    """A request and its progress."""

    columns: Columns
    rows: int
    future: asyncio.Future
    first: int = 0
    outputs: list[Columns] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> int:
        return self.rows - self.first


@dataclasses.dataclass
class _Piece:
    """Rows of a request that belong to one computation."""

    request: _Waiting
    columns: Columns
    rows: int
    first: int

    def named(self, error: Exception) -> Exception:
        """Returns the error with the piece's first row in its message."""
        if self.first and isinstance(error, Refused):
            return Refused(f"rows from {self.first} (from 0): {error}")
        return error


class Batcher:
    """Runs the requests of one signature in batches.

    If nothing is running, a request is run at once by itself; requests that
    arrive in the meantime wait and are batched, so batching never delays a
    single request. A request with more rows than a batch is split, and
    waiting requests run between its pieces. If a batch of several requests
    fails, they are run one by one, so that only the faulty one fails.

    Args:
        engine: the model.
        signature: name of the signature.
        executor: executor of the computations.
        max_rows: largest number of rows per computation.
        max_waiting: largest number of waiting rows.
        joins: whether requests may be batched.
        note: called with the number of rows of each computation.
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
        """Number of requests with waiting rows."""
        return len(self._queue)

    async def run(self, columns: Columns, rows: int) -> Columns:
        """Returns the outputs of a request.

        Raises:
            Overloaded: if too many rows wait.
            Refused: if the model rejects the request.
        """
        if self.waiting_rows and (self.waiting_rows + rows > self._max_waiting):
            raise Overloaded(self.waiting_rows, self._max_waiting)
        future = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(columns, rows, future))
        self.waiting_rows += rows
        if not self._running:
            self._running = True
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self):
        """Runs waiting requests until none is left."""
        try:
            while self._queue:
                pieces = self._next_batch()
                if pieces:
                    await self._run(pieces)
        finally:
            self._running = False

    def _next_batch(self) -> list[_Piece]:
        """Removes the next batch from the queue; returns its pieces."""
        pieces: list[_Piece] = []
        rows = 0
        while self._queue:
            request = self._queue[0]
            if request.future.done():  # client is gone, or got an error
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
            if request.left:  # others run before its next piece
                self._queue.append(request)
                break
        return pieces

    def _cut(self, request: _Waiting, count: int) -> _Piece:
        """Returns the next rows of a request, with its whole context."""
        columns = request.columns
        if count < request.rows:
            context = self._engine.signatures[self._signature].context
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
            elif not pieces[0].request.future.done():
                pieces[0].request.future.set_exception(pieces[0].named(error))
            return
        for piece, output in zip(pieces, outputs, strict=True):
            request = piece.request
            request.outputs.append(output)
            if not request.left and not request.future.done():
                request.future.set_result(_concatenated(request.outputs))

    def _compute(self, pieces: list[_Piece]) -> list[Columns]:
        """Returns the outputs of each piece; runs in a thread."""
        columns = _concatenated([piece.columns for piece in pieces])
        self._note(sum(piece.rows for piece in pieces))
        outputs = self._engine.run(self._signature, columns)
        if len(pieces) == 1:
            return [outputs]
        ends = np.cumsum([piece.rows for piece in pieces])[:-1]
        parts = {name: np.split(value, ends) for name, value in outputs.items()}
        return [
            {name: split[index] for name, split in parts.items()}
            for index in range(len(pieces))
        ]


def _concatenated(parts: list[Columns]) -> Columns:
    """Returns the columns of all parts, concatenated."""
    if len(parts) == 1:
        return parts[0]
    return {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }
