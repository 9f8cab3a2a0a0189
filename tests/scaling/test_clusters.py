"""What GPUs send in a step, against counts by hand and a simulated ring."""

import pytest

from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.errors import ConfigError
from wukong_tf.optimizers import replica_sum
from wukong_tf.scaling import cost, replication, sharding
from wukong_tf.scaling.clusters import Cluster, estimated_step
from wukong_tf.scaling.traffic import Traffic

CONFIG = WukongConfig(
    FeatureSpec((CategoricalFeature("a", 100), CategoricalFeature("b", 50))),
    rank=2,
)
FOUND = cost(CONFIG)
WIDTH, IDS = 16, 2
PORT, NVLINK = 50e9, 450e9
SIZES = [(1, 1), (1, 2), (1, 8), (2, 1), (2, 8), (32, 8), (4, 4)]


def of(hosts, gpus, batch=64, table_rows=150, sharded=(), **options):
    """Returns a step on a cluster, and the traffic of its one table."""
    dtype = options.pop("exchange_dtype", "float32")
    workers = hosts * gpus if options.pop("shard_state", False) else 1
    table = Traffic(
        "all",
        table_rows,
        WIDTH,
        min(table_rows, batch * IDS),
        hosts * gpus,
        dtype,
    )
    step = estimated_step(
        cost(CONFIG, state_workers=workers),
        Cluster("h100", hosts, gpus),
        batch,
        [table],
        sharded,
        **options,
    )
    return step, table


def ring_bytes(gpus: int, size: float) -> float:
    """Bytes that one member of a ring sends to sum `size` bytes."""
    piece = size / gpus
    sent = 0.0
    for _ in range(gpus - 1):  # sums go round
        sent += piece
    for _ in range(gpus - 1):  # and so do the results
        sent += piece
    return sent


@pytest.mark.parametrize(("hosts", "gpus"), SIZES)
def test_dense_bytes_are_those_of_a_ring(hosts, gpus):
    step, _ = of(hosts, gpus)
    size = ring_bytes(hosts * gpus, 4 * FOUND.dense_parameters)
    assert step.dense_bytes == pytest.approx(size)
    link = NVLINK if hosts == 1 else gpus * PORT
    assert step.dense_s == pytest.approx(size / link)


@pytest.mark.parametrize("gpus", [2, 3, 8])
@pytest.mark.parametrize("table_rows", [10, 150, 10_000])
def test_replicated_tables_go_the_way_that_sends_less(gpus, table_rows):
    step, table = of(1, gpus, table_rows=table_rows)
    row = 4 * (WIDTH + 1)
    gathered = (gpus - 1) * row * min(128, table_rows)
    reduced = ring_bytes(gpus, row * table_rows)
    assert step.replicated_bytes == pytest.approx(min(gathered, reduced), abs=1)
    # The trainer's own choice, which counts a row of either as equal.
    chosen = replica_sum.cheaper_way(table_rows, 128, gpus)
    costs = {"gather": gathered, "reduce": reduced}
    assert costs[chosen] == pytest.approx(costs[table.exchange])
    assert step.sharded_bytes == 0


@pytest.mark.parametrize(("hosts", "gpus"), SIZES)
def test_sharded_tables_send_ids_rows_and_gradients_to_every_other(hosts, gpus):
    step, _ = of(hosts, gpus, table_rows=10_000, sharded=["all"])
    count = hosts * gpus
    each = 128 / count * (4 + 2 * 4 * WIDTH)  # from one GPU to another
    inside, outside = (gpus - 1) * each, (count - gpus) * each
    assert step.sharded_bytes == pytest.approx(inside + outside, abs=1)
    seconds = max(inside / NVLINK, outside / PORT)
    assert step.tables_s == pytest.approx(seconds, rel=1e-3)
    assert step.replicated_bytes == 0


def test_time_and_rows():
    step, _ = of(1, 8, batch=1000)
    flops = 0.4 * 989e12
    assert step.compute_s == pytest.approx(1000 * FOUND.training_flop / flops)
    assert step.step_s == step.compute_s + step.dense_s + step.tables_s
    assert step.tables_s == pytest.approx(step.replicated_bytes / NVLINK)
    assert step.rows_per_s == pytest.approx(8000 / step.step_s)
    assert of(1, 1)[0].efficiency == 1.0
    exact, _ = of(1, 8, batch=1000, dtype="float64", peak_share=1.0)
    assert exact.compute_s == pytest.approx(1000 * FOUND.training_flop / 67e12)
    rows = replication.batch_for(0.8, step)
    compute_s = rows * FOUND.training_flop / flops
    assert compute_s / (compute_s + step.dense_s) == pytest.approx(
        0.8, rel=1e-2
    )


def test_a_gpu_holds_its_part_of_sharded_tables_and_state():
    whole, _ = of(1, 4, table_rows=10_000)
    dense = FOUND.dense_bytes + FOUND.dense_state_bytes
    assert whole.memory_bytes == dense + 4 * 17 * 10_000
    rows, _ = of(1, 4, table_rows=10_000, sharded=["all"])
    assert rows.memory_bytes == dense + 4 * 17 * 2_500
    state, _ = of(1, 4, table_rows=10_000, shard_state=True)
    share = -(-FOUND.dense_state_bytes // 4)
    saved = FOUND.dense_state_bytes - share
    assert whole.memory_bytes - state.memory_bytes == saved
    # It sends what it updates, 1 / N of the weights, to N - 1 others.
    assert state.dense_s == pytest.approx(1.5 * whole.dense_s)


def test_rows_and_gradients_as_bfloat16_take_half_the_bytes():
    wide, narrow = (
        of(1, 4, table_rows=10_000, sharded=["all"], exchange_dtype=dtype)[0]
        for dtype in ("float32", "bfloat16")
    )
    ids = 4 * 128 * 3 / 4
    assert narrow.sharded_bytes - ids == (wide.sharded_bytes - ids) / 2
    assert narrow.tables_s < wide.tables_s
    assert narrow.memory_bytes == wide.memory_bytes


def test_clusters_are_written_as_kind_hosts_and_gpus():
    assert Cluster.parse("h100:32x8") == Cluster("h100", 32, 8)
    assert Cluster.parse("a100:1x4").count == 4
    for text in ("h100", "h100:8", "b9:1x8", "h100:0x8", "h100:1x8 ", "H100:1"):
        with pytest.raises(ConfigError, match="KIND:HOSTSxGPUS") as caught:
            Cluster.parse(text)
        assert repr(text) in str(caught.value)


def test_the_tables_of_the_docs_have_all_presets_and_say_what_does_not_fit():
    lines = replication.table().splitlines()
    assert len(lines) == 6
    assert "internal_5.6gf | 8 |" in lines[2]
    assert "does not fit" not in lines[2] and "does not fit" in lines[5]
    lines = sharding.table().splitlines()
    assert len(lines) == 14
    start = "| internal_0.53gf | 128 | replicated | 20.4 GB | "
    assert lines[2].startswith(start)
    assert "does not fit" not in lines[9] and "does not fit" in lines[13]
