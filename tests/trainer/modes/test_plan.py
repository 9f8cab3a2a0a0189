"""The plan of a run on one device, and on a cluster of GPUs."""

import re

import pytest

from tests.trainer import cli
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.scaling import preset
from wukong_tf.scaling.clusters import Cluster, estimated_step
from wukong_tf.scaling.cost import cost
from wukong_tf.scaling.traffic import traffic

SPEC = FeatureSpec(
    tuple(CategoricalFeature(f"f{i}", 40_000_000) for i in range(39))
)
PLAN = [
    "--mode=plan",
    "--preset=criteo_l4_n16_mlp3x2048",
    "--batch_size=262144",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "features.json").write_text(SPEC.to_json())
    return f"--data_dir={tmp_path}"


def lines_of(capsys):
    """Returns the cells of each printed line, without separators."""
    lines = capsys.readouterr().out.splitlines()
    return [re.split(r"  +", line.replace(",", "")) for line in lines]


def test_sharded_tables_fit_a_cluster(folder, capsys):
    flags = ["--table_placement=sharded", "--dense_state=sharded"]
    flags += ["--precision=bfloat16", "--on=h100:32x8"]
    assert cli.run(*PLAN, *flags, folder) == 0
    cells = {line[0]: line[1:] for line in lines_of(capsys)}
    config = preset("criteo_l4_n16_mlp3x2048").config(SPEC)
    costs = cost(config, state_workers=256)
    tables = traffic(costs, SPEC, 262_144, 256)
    names = [table.name for table in tables]
    step = estimated_step(
        costs, Cluster("h100", 32, 8), 1024, tables, names, dtype="bfloat16"
    )
    sent, seconds = cells["sharded tables"]
    assert int(sent) == step.sharded_bytes
    assert float(seconds) == round(1000 * step.tables_s, 2)
    assert cells["replicated tables"] == ["0", "0.00"]
    assert int(cells["dense part"][0]) == round(step.dense_bytes)
    assert float(cells["step"][0]) == round(1000 * step.step_s, 2)
    (speed,) = (name for name in cells if " rows/s " in name)
    assert speed.startswith(f"{step.rows_per_s:.0f} rows/s ")
    # Rows, state and activations of a GPU, and what it has.
    needed, has = map(int, cells["accelerator"])
    assert step.memory_bytes < needed < step.memory_bytes + 5e9
    assert has == 72_000_000_000
    total = sum(map(int, cells["total"]))
    assert total == pytest.approx(step.memory_bytes, rel=1e-6)


def test_what_a_cluster_cannot_hold_is_planned_and_refused(folder, capsys):
    flags = ["--table_placement=sharded", "--on=h100:1x8"]
    assert cli.run(*PLAN, *flags, folder) == 2
    printed = capsys.readouterr()
    assert "a training step on 1 x 8 h100, 32,768 rows each" in printed.out
    assert "accelerator has 72,000,000,000 bytes, but" in printed.err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--on=h100"], "--on: a cluster must be KIND:HOSTSxGPUS"),
        (["--on=h100:2x8", "--table_device=cpu"], "--table_device=cpu"),
        (["--on=h100:2x8", "--mode=train", "--run_dir=r"], "--on contradicts"),
    ],
)
def test_flags_that_cannot_be_planned(folder, capsys, flags, named):
    assert cli.run(*PLAN, *flags, folder) == 2
    assert named in capsys.readouterr().err


def test_the_plan_counts_the_tables_optimizer_and_accumulated_batches(capsys):
    def plan(*flags):
        log = ["--mode=plan", "--synthetic", "--batch_size=1024"]
        assert cli.run(*log, *flags) == 0
        lines = lines_of(capsys)
        (total,) = (line for line in lines if line[0] == "total")
        (batch,) = (
            line[0] for line in lines if line[0].startswith("activations: ")
        )
        return list(map(int, total[1:])), batch

    (rows, rowwise), whole = plan()
    (same, adam), parts = plan(
        "--table_optimizer=adam", "--gradient_accumulation_steps=4"
    )
    assert rows == same and adam == 2 * rows and rowwise < rows
    assert whole.endswith("a batch of 1024 rows")
    assert parts.endswith("a batch of 256 rows")
