"""Joins requests that wait at the same time into one computation."""

import asyncio
import collections
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from export.server.engines import Columns, Engine


class Overloaded(Exception):
    """More rows wait than may."""


@dataclasses.dataclass
class _Waiting:
    columns: Columns
    rows: int
    answer: asyncio.Future


class Batcher:
    """Runs the requests of one signature, several at once.

    A request that finds nothing running is run alone and at once; those
    that come meanwhile wait and go together. So joining costs a lone
    request nothing. A request with more rows than a computation takes is
    cut. Where a joined computation fails, its requests are run one by one,
    so that the others do not suffer.

    Args:
        engine: the model.
        signature: its name.
        executor: its threads compute.
        max_rows: rows of one computation.
        max_waiting: rows that may wait.
        joins: whether requests may go together.
        note: told the rows of each computation.
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
        self._waiting_rows = 0
        self._running = False
        self._tasks: set[asyncio.Task] = set()

    async def run(self, columns: Columns, rows: int) -> Columns:
        """The outputs of a request.

        Raises:
            Overloaded: too many rows wait.
            Refused: the model refuses the request.
        """
        if self._waiting_rows and (
            self._waiting_rows + rows > self._max_waiting
        ):
            raise Overloaded(
                f"{self._waiting_rows} rows wait already; {self._max_waiting} "
                "may (--max_waiting_rows)."
            )
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(columns, rows, answer))
        self._waiting_rows += rows
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
                await self._run(self._taken())
        finally:
            self._running = False

    def _taken(self) -> list[_Waiting]:
        """The next requests that go together."""
        taken = [self._queue.popleft()]
        rows = taken[0].rows
        while self._joins and self._queue:
            rows += self._queue[0].rows
            if rows > self._max_rows:
                break
            taken.append(self._queue.popleft())
        self._waiting_rows -= sum(each.rows for each in taken)
        # Whoever asked may have gone.
        return [each for each in taken if not each.answer.done()]

    async def _run(self, requests: list[_Waiting]):
        if not requests:
            return
        loop = asyncio.get_running_loop()
        answers: list[Columns | Exception]
        try:
            answers = await loop.run_in_executor(
                self._executor, self._compute, requests
            )
        except Exception as error:  # noqa: BLE001 it goes to who asked
            if len(requests) > 1:
                for each in requests:
                    await self._run([each])
                return
            answers = [error]
        for each, answer in zip(requests, answers, strict=True):
            if each.answer.done():
                continue
            if isinstance(answer, BaseException):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)

    def _compute(self, requests: list[_Waiting]) -> list[Columns | Exception]:
        """The outputs of each request, in a thread."""
        if len(requests) == 1:
            return [self._outputs(requests[0].columns, requests[0].rows)]
        joined = {
            name: np.concatenate([each.columns[name] for each in requests])
            for name in requests[0].columns
        }
        rows = sum(each.rows for each in requests)
        outputs = self._outputs(joined, rows)
        ends = np.cumsum([each.rows for each in requests])[:-1]
        parts = {name: np.split(value, ends) for name, value in outputs.items()}
        return [
            {name: split[place] for name, split in parts.items()}
            for place in range(len(requests))
        ]

    def _outputs(self, columns, rows):
        context = self._engine.forms[self._signature].context
        found = []
        for first in range(0, max(rows, 1), self._max_rows):
            part = columns
            if rows > self._max_rows:
                chunk = slice(first, first + self._max_rows)
                part = {
                    name: value if name in context else value[chunk]
                    for name, value in columns.items()
                }
            self._note(min(rows - first, self._max_rows))
            found.append(self._engine.run(self._signature, part))
        if len(found) == 1:
            return found[0]
        return {
            name: np.concatenate([each[name] for each in found])
            for name in found[0]
        }
