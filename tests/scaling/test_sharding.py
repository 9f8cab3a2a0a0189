"""What GPUs with sharded tables send, against a count of every pair."""

import pytest

from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.scaling import cost, replication, sharding

CONFIG = WukongConfig(FeatureSpec((CategoricalFeature("a", 100),)), rank=1)
FOUND = cost(CONFIG)


def of(gpus, batch=64, table_rows=10_000, **options):
    return sharding.sharded_step(
        FOUND,
        gpus,
        batch,
        ids=2,
        width=16,
        table_rows=table_rows,
        flops=1e12,
        **options,
    )


def sent(gpus, distinct, one, other):
    """Bytes from one GPU to another: ids, rows and gradients."""
    if one == other:
        return 0.0
    of_each = distinct / gpus  # ids of one GPU that another owns
    asked, gradients = of_each * 4, of_each * 4 * 16
    return asked + gradients + of_each * 4 * 16


@pytest.mark.parametrize("gpus", [1, 2, 8, 16, 256])
def test_bytes_and_times_are_those_of_every_pair(gpus):
    found = of(gpus)
    pairs = {other: sent(gpus, 128, 0, other) for other in range(gpus)}
    assert found.table_bytes == pytest.approx(sum(pairs.values()))
    inside = sum(pairs[other] for other in range(min(gpus, 8)))
    outside = sum(pairs.values()) - inside
    assert found.tables_s == pytest.approx(
        max(inside / replication.NVLINK_BYTES, outside / 50e9)
    )
    dense = replication.estimated_step(
        FOUND, gpus, 64, ids=2, width=16, table_rows=10_000, flops=1e12
    )
    link = replication.NVLINK_BYTES if gpus <= 8 else replication.NETWORK_BYTES
    assert found.dense_s == pytest.approx(dense.dense_bytes / link)
    assert found.compute_s == dense.compute_s
    assert found.step_s == pytest.approx(
        found.compute_s + found.tables_s + found.dense_s
    )


def test_a_gpu_holds_its_part_of_the_rows_and_all_of_the_dense_part():
    whole = replication.resident_bytes(FOUND, 10_000, 16)
    assert of(1).memory_bytes == whole
    parts = 4 * 17 * (10_000 - 2_500)
    assert of(4).memory_bytes == whole - parts
    assert of(4).dense_state_bytes == FOUND.dense_state_bytes
    # No more ids are sent than a table has.
    assert of(2, batch=10**6).table_bytes == of(2, batch=10**7).table_bytes


def test_rows_and_gradients_as_bfloat16_take_half_the_bytes():
    wide, narrow = of(4), of(4, exchange_dtype="bfloat16")
    ids = 4 * 128 * 3 / 4
    assert narrow.table_bytes - ids == (wide.table_bytes - ids) / 2
    assert narrow.tables_s < wide.tables_s
    assert narrow.memory_bytes == wide.memory_bytes


def test_the_table_says_what_does_not_fit():
    lines = sharding.table().splitlines()
    assert len(lines) == 14
    start = "| internal_0.53gf | 128 | replicated | 20.4 GB | "
    assert lines[2].startswith(start)
    assert "does not fit" not in lines[9] and "does not fit" in lines[13]


def test_sharded_state_is_sent_as_weights():
    """Each of N sends what it updates, 1 / N, to N - 1 others."""
    whole, part = of(4), of(4, shard_state=True)
    state = FOUND.dense_state_bytes
    assert part.dense_state_bytes == -(-state // 4)
    assert cost(CONFIG, state_workers=4).dense_state_bytes == -(-state // 4)
    saved = state - part.dense_state_bytes
    assert whole.memory_bytes - part.memory_bytes == saved
    assert part.dense_s == pytest.approx(1.5 * whole.dense_s)
    assert of(1, shard_state=True) == of(1)
