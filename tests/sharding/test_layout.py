"""Which worker owns a row, and where."""

import numpy as np
import pytest

from wukong_tf.sharding.layout import Shards

SIZES = [(7, 2), (1, 1), (100, 7), (300, 256), (5000, 16), (3, 3)]


@pytest.mark.parametrize("rows, count", SIZES)
def test_every_row_has_one_owner_and_one_place(rows, count):
    shards = [Shards(rows, count, index) for index in range(count)]
    owners, places = shards[0].places(np.arange(rows))
    sizes = [shard.local_rows for shard in shards]
    assert sum(sizes) == rows and max(sizes) - min(sizes) <= 1
    for index, shard in enumerate(shards):
        owned = shard.owned(0, rows)
        assert owned.tolist() == np.flatnonzero(owners == index).tolist()
        assert places[owned].tolist() == list(range(shard.local_rows))


@pytest.mark.parametrize("rows, count", SIZES)
def test_a_run_of_rows_is_a_run_of_the_rows_of_each_worker(rows, count):
    cuts = sorted({0, rows // 3, rows // 2, rows - 1, rows})
    for index in range(count):
        shards = Shards(rows, count, index)
        owned = shards.owned(0, rows)
        for start in cuts:
            for stop in (cut for cut in cuts if cut >= start):
                part = owned[shards.before(start) : shards.before(stop)]
                assert shards.owned(start, stop).tolist() == part.tolist()
        sizes = np.diff([0, *cuts[1:]]).tolist()
        runs = shards.runs(sizes)
        assert sum(runs) == shards.local_rows
        assert runs[0] == len(shards.owned(0, cuts[1]))


@pytest.mark.parametrize("count, bound", [(2, 1.05), (4, 1.1), (256, 1.6)])
@pytest.mark.parametrize("step", ["zipf", 1, 2, "count"])
def test_ids_of_any_law_are_spread_evenly(count, bound, step):
    """About 26 columns of 1,024 rows; the most of an owner, over the mean."""
    random, rows = np.random.default_rng(0), 4_000_000
    if step == "zipf":  # sorted by frequency
        ids = (rows + 1.0) ** random.random(26 * 1024) - 1
        ids = ids.astype(np.int64)
    else:
        step = count if step == "count" else step
        ids = random.integers(0, rows // step, 26 * 1024) * step
    distinct = np.unique(ids)
    owners, _ = Shards(rows, count, 0).places(distinct)
    owned = np.bincount(owners, minlength=count)
    assert owned.max() <= bound * len(distinct) / count
    assert owned.min() > 0
