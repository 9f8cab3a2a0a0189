"""Two mirrored replicas: sums of rows, reads of tables, dropout."""

import json

import numpy as np
import pytest

from tests.distributed import two_replicas
from tests.distributed.processes import finish, start
from tests.embeddings.test_table_rows import HANDS_ON, ROW_OPERATIONS
from wukong_tf.optimizers import replica_sum

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    path = tmp_path_factory.mktemp("replicas") / "out"
    finish(start("tests.distributed.two_replicas", str(path)))
    with np.load(f"{path}.npz") as arrays:
        return dict(arrays), json.loads(open(f"{path}.json").read())


@pytest.mark.parametrize("way", replica_sum.WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(two_replicas.IDS)))
def test_each_replica_has_the_sums_of_the_touched_rows(
    found, number, way, dtype
):
    arrays, _ = found
    expected = np.full((two_replicas.ROWS, two_replicas.WIDTH), np.nan)
    values = two_replicas.values_of(number)
    for ids, rows in zip(two_replicas.IDS[number], values, strict=True):
        for place, row in zip(ids, rows, strict=True):
            expected[place] = np.nan_to_num(expected[place]) + row
    for replica in arrays[f"{number}/{way}/{dtype}"]:
        np.testing.assert_allclose(replica, expected, rtol=1e-6)


@pytest.mark.parametrize("lookup", ["take", "tfrs"])
def test_no_step_takes_a_whole_table(found, lookup):
    operations = set(found[1][lookup])
    assert {"ResourceGather", "ResourceScatterSub"} <= operations
    assert operations <= ROW_OPERATIONS | HANDS_ON


def test_stable_ranks_are_those_of_all_rows(found):
    both, one = found[0]["ranks"]
    assert len(one) == 3
    np.testing.assert_allclose(both, one, rtol=1e-5)


def test_every_replica_and_step_draws_a_mask_of_its_own(found):
    masks = found[0]["masks"].reshape(4, -1)
    assert set(np.unique(masks)) == {0.0, 2.0}
    for one in range(4):
        assert 0.3 < (masks[one] > 0).mean() < 0.7
        for other in range(one):
            assert (masks[one] != masks[other]).mean() > 0.3


@pytest.mark.parametrize(
    "rows, ids, replicas, way",
    [
        (100, 10, 2, "gather"),
        (100, 1000, 2, "gather"),  # as much either way
        (100, 1000, 3, "reduce"),
        (10**7, 40_000, 8, "gather"),
        (10**6, 40_000, 256, "reduce"),
    ],
)
def test_the_way_that_sends_less(rows, ids, replicas, way):
    assert replica_sum.cheaper_way(rows, ids, replicas) == way
