"""Which rows of weights each worker updates, and in which order it sends."""

import itertools
import math

import numpy as np
import pytest

from wukong_tf.sharding import blocks
from wukong_tf.sharding.blocks import Blocks

SHAPES = [(7, 3), (100,), (1, 40), (12, 5), (3,), (64, 2, 2), (1,)]
TOTAL = sum(map(math.prod, SHAPES))
COUNTS = [1, 2, 3, 8, 50]


def loads(bounds, shapes=SHAPES):
    """Numbers of each worker."""
    rows = [math.prod(shape[1:]) for shape in shapes]
    return sum(
        row * np.diff(each) for row, each in zip(rows, bounds, strict=True)
    )


def check_bounds(bounds, count):
    for shape, each in zip(SHAPES, bounds, strict=True):
        assert each[0] == 0 and each[-1] == shape[0]
        assert len(each) == count + 1 and list(each) == sorted(each)


@pytest.mark.parametrize("count", COUNTS)
def test_cuts_leave_equal_shares_to_a_row(count):
    bounds = blocks.cut(SHAPES, count)
    check_bounds(bounds, count)
    assert abs(loads(bounds) - TOTAL / count).max() <= 40
    cut = [each for each in bounds if sum(np.diff(each) > 0) > 1]
    assert len(cut) <= count - 1


@pytest.mark.parametrize("count", COUNTS)
def test_whole_weights_are_balanced_as_well_as_they_can_be(count):
    bounds = blocks.whole(SHAPES, count)
    check_bounds(bounds, count)
    for each in bounds:
        assert sum(np.diff(each) > 0) == 1
    found, sizes = loads(bounds), list(map(math.prod, SHAPES))
    assert found.sum() == TOTAL
    if count > len(SHAPES):
        assert found.max() == max(sizes)
    elif count < 4:
        least = min(
            max(
                sum(s for s, o in zip(sizes, owners, strict=True) if o == w)
                for w in range(count)
            )
            for owners in itertools.product(range(count), repeat=len(sizes))
        )
        assert found.max() <= 4 / 3 * least


def test_equal_weights_are_spread_in_turn():
    owners = [each.index(2) - 1 for each in blocks.whole([(2, 2)] * 5, 3)]
    assert owners == [0, 1, 2, 0, 1]
    assert blocks.whole([], 2) == blocks.cut([], 2) == []


@pytest.mark.parametrize("choose", [blocks.cut, blocks.whole])
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("limit", [1, 30, 10**6])
def test_rounds_send_every_row_once_within_the_limit(choose, count, limit):
    bounds = choose(SHAPES, count)
    rounds = blocks.rounds(SHAPES, bounds, limit)
    sent = [np.zeros(shape[0], int) for shape in SHAPES]
    for pieces in rounds:
        assert len(pieces) == count
        for worker, each in enumerate(pieces):
            assert sum(p.size for p in each) <= limit or len(each) == 1
            for p in each:
                sent[p.weight][p.start : p.stop] += 1
                assert p.size == math.prod(
                    (p.stop - p.start, *SHAPES[p.weight][1:])
                )
                first, last = bounds[p.weight][worker : worker + 2]
                assert first <= p.start < p.stop <= last
                assert p.size <= limit or p.stop == p.start + 1
    assert all((rows == 1).all() for rows in sent)
    # Any two rounds of a worker that follow each other exceed the limit.
    for worker in range(count):
        sizes = [sum(p.size for p in pieces[worker]) for pieces in rounds]
        sizes = [size for size in sizes if size]
        assert all(a + b > limit for a, b in itertools.pairwise(sizes))
    assert blocks.rounds([], [], 5) == []


@pytest.mark.parametrize("bounds", [(0, 3, 3, 5), (0, 0, 0, 4), (0, 6, 6, 6)])
def test_blocks_are_shards_of_runs(bounds):
    workers = [Blocks(bounds, index) for index in range(3)]
    rows = bounds[-1]
    assert workers[0].sizes == [worker.local_rows for worker in workers]
    for worker in workers:
        assert worker.rows == rows
        own = list(range(*worker.run))
        assert worker.owned(0, rows).tolist() == own
        for start in range(rows + 1):
            assert worker.before(start) == sum(row < start for row in own)
            for stop in range(start, rows + 1):
                found = worker.owned(start, stop).tolist()
                assert found == [row for row in own if start <= row < stop]
