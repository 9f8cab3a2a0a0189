"""How requests are joined, and what happens to a bad one among them."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.server.batching import Batcher, Overloaded
from export.version.engines import Refused
from export.version.published import SignatureSpec


class Doubling:
    """An engine that doubles, refuses negatives, and can be held."""

    def __init__(self, context=()):
        spec = {"x": ("int64", (None,)), "c": ("int64", (None,))}
        self.signatures = {"s": SignatureSpec(spec, {}, {}, context)}
        self.batches = []
        self.free = threading.Event()
        self.free.set()

    def run(self, signature, columns):
        assert self.free.wait(30)
        self.batches.append(len(columns["x"]))
        if (columns["x"] < 0).any():
            raise Refused("negative")
        if (columns["x"] == 99).any():
            raise MemoryError("all of it")
        return {"y": 2 * columns["x"] + columns["c"].sum() * 0}


class TwoOutputs(Doubling):
    """Gives a second output, with two values a row."""

    def run(self, signature, columns):
        pair = np.stack([columns["x"], -columns["x"]], axis=1)
        return {**super().run(signature, columns), "pair": pair}


def run(test, engine=None, **options):
    engine = engine or Doubling()
    options = {"max_rows": 10, "max_waiting": 100, **options}
    with ThreadPoolExecutor(2) as executor:

        async def main():
            return await test(Batcher(engine, "s", executor, **options))

        return asyncio.run(main()), engine


def ask(batcher, *values):
    x = np.array(values)
    return batcher.run({"x": x, "c": x}, len(x))


async def asked(batcher, *requests):
    """Tasks of requests, all of which wait, or run in the engine."""
    tasks = [asyncio.create_task(ask(batcher, *values)) for values in requests]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_requests_that_wait_are_joined():
    engine = Doubling()

    async def test(batcher):
        engine.free.clear()
        (first,) = await asked(batcher, [0])
        rest = await asked(batcher, *([n, n] for n in range(1, 7)))
        engine.free.set()
        return [(await each)["y"].tolist() for each in (first, *rest)]

    found, _ = run(test, engine)
    assert found == [[0], *([2 * n, 2 * n] for n in range(1, 7))]
    assert engine.batches == [1, 10, 2]


@pytest.mark.parametrize("max_rows", [4, 7, 100])
def test_each_request_gets_its_own_rows(max_rows):
    """Requests of every size and distinct scores, some joined, some cut."""
    engine = TwoOutputs()
    sizes = [1, 3, 2, 5, 1, 9, 4, 2, 6, 3]
    ends = np.cumsum(sizes)
    values = [
        np.arange(end - size, end)
        for size, end in zip(sizes, ends, strict=True)
    ]

    async def test(batcher):
        engine.free.clear()
        first = await asked(batcher, values[0])
        rest = await asked(batcher, *values[1:])
        engine.free.set()
        return await asyncio.gather(*first, *rest)

    found, _ = run(test, engine, max_rows=max_rows)
    for outputs, each in zip(found, values, strict=True):
        assert outputs["y"].tolist() == (2 * each).tolist()
        assert outputs["pair"].tolist() == [[v, -v] for v in each.tolist()]
    assert max(engine.batches) <= max_rows
    assert sum(engine.batches) == ends[-1]


def test_a_request_that_finds_nothing_running_goes_alone():
    async def test(batcher):
        return [(await ask(batcher, n))["y"].tolist() for n in range(3)]

    found, engine = run(test)
    assert found == [[0], [2], [4]]
    assert engine.batches == [1, 1, 1]


@pytest.mark.parametrize("value, error", [(-1, Refused), (99, MemoryError)])
def test_a_bad_request_fails_alone(value, error):
    engine = Doubling()

    async def test(batcher):
        engine.free.clear()
        (held,) = await asked(batcher, [0])
        good = asyncio.create_task(ask(batcher, 4))
        (bad,) = await asked(batcher, [value])
        engine.free.set()
        await held
        return await asyncio.gather(good, bad, return_exceptions=True)

    (good, bad), _ = run(test, engine)
    assert isinstance(bad, error)
    assert good["y"].tolist() == [8]


def test_a_refusal_says_which_rows_it_counts_from():
    async def test(batcher):
        return await asyncio.gather(
            ask(batcher, *range(14), -1),
            ask(batcher, -1),
            return_exceptions=True,
        )

    (cut, whole), _ = run(test)
    assert isinstance(cut, Refused)
    assert str(cut) == "rows from 10 (from 0): negative"
    assert str(whole) == "negative"


def test_a_large_request_is_cut_and_its_context_is_not():
    async def test(batcher):
        columns = {"x": np.arange(25), "c": np.array([7])}
        return (await batcher.run(columns, 25))["y"].tolist()

    found, engine = run(test, Doubling(("c",)))
    assert found == [2 * n for n in range(25)]
    assert engine.batches == [10, 10, 5]


def test_others_go_between_the_pieces_of_a_large_request():
    engine = Doubling()

    async def test(batcher):
        engine.free.clear()
        (held,) = await asked(batcher, [0])
        (large,) = await asked(batcher, range(100, 134))
        small = await asked(batcher, [0], [1], [2])
        assert (batcher.waiting_rows, batcher.waiting_requests) == (37, 4)
        engine.free.set()
        for number, each in enumerate(small):
            assert (await each)["y"].tolist() == [2 * number]
        assert not large.done()
        await held
        return (await large)["y"].tolist(), batcher.waiting_rows

    found, _ = run(test, engine)
    assert found == ([2 * n for n in range(100, 134)], 0)
    assert engine.batches == [1, 10, 3, 10, 10, 4]


def test_more_than_may_wait_is_refused():
    engine = Doubling()

    async def test(batcher):
        engine.free.clear()
        (held,) = await asked(batcher, [0])
        (waits,) = await asked(batcher, [1, 2])
        with pytest.raises(Overloaded, match="--max_waiting_rows"):
            await ask(batcher, 3, 4)
        engine.free.set()
        await held
        return (await waits)["y"].tolist()

    found, _ = run(test, engine, max_waiting=3)
    assert found == [2, 4]


def test_whoever_has_gone_is_not_computed():
    engine = Doubling()

    async def test(batcher):
        engine.free.clear()
        (held,) = await asked(batcher, [0])
        (gone,) = await asked(batcher, [1, 2])
        gone.cancel()
        await asked(batcher)
        engine.free.set()
        await held
        return (await ask(batcher, 3))["y"].tolist()

    found, _ = run(test, engine)
    assert found == [6] and engine.batches == [1, 1]
