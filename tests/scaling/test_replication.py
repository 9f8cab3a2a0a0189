"""What replicas send, against counts by hand and a simulated ring."""

import pytest

from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.optimizers import replica_sum
from wukong_tf.scaling import cost, replication

CONFIG = WukongConfig(
    FeatureSpec((CategoricalFeature("a", 100), CategoricalFeature("b", 50))),
    rank=2,
)
FOUND = cost(CONFIG)


def of(replicas, batch=64, table_rows=150, **options):
    return replication.estimated_step(
        FOUND,
        replicas,
        batch,
        ids=2,
        width=16,
        table_rows=table_rows,
        flops=1e12,
        **options,
    )


def ring_bytes(replicas: int, size: float) -> float:
    """Bytes that one member of a ring sends to sum `size` bytes."""
    piece = size / replicas
    sent = 0.0
    for _ in range(replicas - 1):  # sums go round
        sent += piece
    for _ in range(replicas - 1):  # and so do the results
        sent += piece
    return sent


@pytest.mark.parametrize("replicas", [1, 2, 8, 256])
def test_dense_bytes_are_those_of_a_ring(replicas):
    size = 4 * FOUND.dense_parameters
    found = of(replicas)
    assert found.dense_bytes == pytest.approx(ring_bytes(replicas, size))


@pytest.mark.parametrize("replicas", [2, 3, 8, 256])
@pytest.mark.parametrize("table_rows", [10, 150, 10_000])
def test_tables_go_the_way_that_sends_less(replicas, table_rows):
    found = of(replicas, table_rows=table_rows)
    row = 4 * 17
    gathered = (replicas - 1) * row * min(128, table_rows)
    reduced = ring_bytes(replicas, row * table_rows)
    assert found.table_bytes == pytest.approx(min(gathered, reduced))
    # The trainer's own choice, which counts a row of either as equal.
    chosen = replica_sum.cheaper_way(table_rows, 128, replicas)
    costs = {"gather": gathered, "reduce": reduced}
    assert costs[chosen] == pytest.approx(costs[found.way])


def test_time_and_rows():
    found = of(8, batch=1000)
    assert found.compute_s == pytest.approx(1000 * FOUND.training_flop / 1e12)
    total = found.dense_bytes + found.table_bytes
    assert found.exchange_s == pytest.approx(total / replication.NVLINK_BYTES)
    assert of(16).exchange_s == pytest.approx(
        (of(16).dense_bytes + of(16).table_bytes) / replication.NETWORK_BYTES
    )
    assert found.rows_per_s == pytest.approx(8000 / found.step_s)
    assert of(1).efficiency == 1.0
    rows = replication.batch_for(0.8, found)
    dense_s = found.dense_bytes / replication.NVLINK_BYTES
    compute_s = rows * FOUND.training_flop / 1e12
    assert compute_s / (compute_s + dense_s) == pytest.approx(0.8, rel=1e-2)


def test_the_table_has_both_presets_on_both_sizes():
    lines = replication.table().splitlines()
    assert len(lines) == 6
    assert "internal_5.6gf | 8 |" in lines[2]
    assert "does not fit" not in lines[2] and "does not fit" in lines[5]
