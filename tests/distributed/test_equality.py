"""A run is the same run, whatever strategy makes it.

Tolerances: sums over replicas add the same numbers in another order. In
float32 that is 1e-7 of a sum, which a run of 34 steps carries on; a row's
first step in rowwise Adagrad is its gradient's direction at full length, so
a gradient near 0 carries more of it. AUC is a
count of pairs, and two rows of almost the same score may change places: of
200 rows a pair is 0.00005 to 0.0002.
"""

import numpy as np
import pytest

import wukong_tf
from tests.distributed import processes
from tests.distributed.processes import (
    LAST_STEP,
    assert_same_run,
    finish,
    gaps,
    records,
    start_one,
    start_workers,
)
from wukong_tf import runs

pytestmark = pytest.mark.slow

FLOAT32 = {"weights": 2e-5, "metrics": 2e-6, "auc": 5e-4}
FLOAT64 = {"weights": 1e-12, "metrics": 1e-12, "auc": 1e-12}
WIDE = {"precision": "float64", "lookup": "take"}
MIRRORED = {"strategy": "mirrored", "cpu_replicas": 2}
SHARDED = {"table_placement": "sharded"}
STATE = {"dense_state": "sharded"}
SLICED = {"slices": "site,price", "importance_rows": 200}


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run on one device."""
    run_dir = tmp_path_factory.mktemp("one") / "run"
    finish(start_one(data, run_dir, **SLICED))
    return run_dir


@pytest.fixture(scope="module")
def wide(data, tmp_path_factory):
    """A run on one device in float64."""
    run_dir = tmp_path_factory.mktemp("wide") / "run"
    finish(start_one(data, run_dir, **WIDE, **SLICED))
    return run_dir


@pytest.mark.full
def test_two_mirrored_replicas(data, one, tmp_path):
    said = finish(start_one(data, tmp_path / "run", **MIRRORED, **SLICED))
    assert "summed by adding on one CPU" in said
    assert_same_run(one, tmp_path / "run", **FLOAT32)


def test_two_workers(data, one, tmp_path):
    said = finish(start_workers(2, data, tmp_path / "run", **SLICED))
    assert "summed by a ring over gRPC" in said
    assert "a batch of 60 rows is 30 for each of 2 replicas" in said
    assert "of width 6 (" in said and "by distinct rows" in said
    assert_same_run(one, tmp_path / "run", **FLOAT32)
    last = records(tmp_path / "run", "train")[-1]
    assert last["workers"].keys() == {"0", "1"}
    for figures in [last, *last["workers"].values()]:
        assert 0 < figures["all_reduce"] < 1
        assert 0 < figures["input_wait"] < 1
        assert figures["examples_per_s"] > 0
        assert figures["memory_bytes"] > 2**26
        times = figures["step_ms"]
        assert 0 < times["p50"] <= times["p95"] <= times["p99"]


@pytest.mark.full
def test_two_workers_in_float64_that_go_on_from_one(data, wide, tmp_path):
    """Written on one device, read by two workers, tables reduced whole."""
    run_dir = tmp_path / "run"
    finish(start_one(data, run_dir, max_steps=LAST_STEP // 2, **WIDE))
    half = runs.find_checkpoint(str(run_dir), "latest").step
    assert half == LAST_STEP // 2
    said = finish(
        start_workers(2, data, run_dir, table_exchange="reduce", **WIDE)
    )
    assert f"resuming from step {half}" in said
    assert "are all-reduced as dense tables" in said
    differs, name = processes.largest_difference(wide, run_dir)
    assert differs <= FLOAT64["weights"], name


@pytest.mark.full
@pytest.mark.parametrize(
    "way, options, base, tolerance",
    [("reduce", {}, "one", FLOAT32), ("gather", WIDE, "wide", FLOAT64)],
    ids=["reduce_float32", "gather_float64"],
)
def test_four_workers(data, request, tmp_path, way, options, base, tolerance):
    run_dir = tmp_path / "run"
    options = {**options, **SLICED, "table_exchange": way}
    finish(start_workers(4, data, run_dir, **options))
    assert_same_run(request.getfixturevalue(base), run_dir, **tolerance)


@pytest.mark.full
@pytest.mark.parametrize("workers", [0, 2])
def test_two_replicas_in_float64(data, wide, tmp_path, workers):
    run_dir = tmp_path / "run"
    if workers:
        finish(start_workers(workers, data, run_dir, **WIDE, **SLICED))
    else:
        finish(start_one(data, run_dir, **MIRRORED, **WIDE, **SLICED))
    assert_same_run(wide, run_dir, **FLOAT64)


@pytest.mark.full
@pytest.mark.parametrize(
    "first, then, options, whole, tolerance",
    [
        (1, 2, {}, "one", FLOAT32),
        (2, 4, WIDE, "wide", FLOAT64),
        (4, 1, WIDE, "wide", FLOAT64),
    ],
    ids=["1 to 2", "2 to 4", "4 to 1"],
)
def test_a_checkpoint_goes_on_under_another_strategy(
    data, request, tmp_path, first, then, options, whole, tolerance
):
    run_dir = tmp_path / "run"
    for count, steps in ((first, LAST_STEP // 2), (then, 0)):
        options = {**options, "max_steps": steps}
        if count == 1:
            finish(start_one(data, run_dir, **options))
        else:
            finish(start_workers(count, data, run_dir, **options))
    differs, array = processes.largest_difference(
        request.getfixturevalue(whole), run_dir
    )
    assert differs <= tolerance["weights"], array


@pytest.mark.full
@pytest.mark.parametrize("placement", ["replicated", "sharded"])
def test_predictions_and_evaluation_of_two_workers_are_those_of_one(
    data, one, tmp_path, placement
):
    """--mode=eval and predict by two workers: the chief writes all rows."""
    import json

    import pyarrow.parquet as pq

    shared = {"lookup": "take", "table_device": "auto"}
    found = []
    for name in ("one", "two"):
        for mode in ("eval", "predict"):
            options = {
                "mode": mode,
                "output": tmp_path / f"{name}-{mode}",
                **shared,
            }
            if mode == "predict":
                options["predict_files"] = f"{data}/test.parquet"
            if name == "one":
                finish(start_one(data, one, **options))
            else:
                options["table_placement"] = placement
                said = finish(start_workers(2, data, one, **options))
                shards = "tables sharded by rows over 2 workers: user, item, "
                assert (shards in said) == (placement == "sharded")
        scores = pq.read_table(tmp_path / f"{name}-predict")
        results = json.loads((tmp_path / f"{name}-eval").read_text())
        found.append(
            (np.stack([c.to_numpy() for c in scores.columns], 1), results)
        )
    (scores, results), (scores_2, results_2) = found
    assert scores.shape == scores_2.shape == (processes.ROWS["test"], 4)
    assert abs(scores - scores_2).max() < 1e-6
    for split, tasks in results.items():
        for task, values in tasks.items():
            for metric, value in values.items():
                assert abs(value - results_2[split][task][metric]) < 1e-6


def test_two_workers_with_sharded_tables(data, one, tmp_path):
    run_dir = tmp_path / "run"
    said = finish(start_workers(2, data, run_dir, **SLICED, **SHARDED))
    assert "tables sharded by rows over 2 workers: user, item, " in said
    assert "are sent to the workers that own the rows" in said
    assert_same_run(one, run_dir, **FLOAT32)
    # Read as the run of one device, by anyone.
    checkpoint = runs.find_checkpoint(str(run_dir))
    assert len(checkpoint.entries["tables/user"]["shards"]) == 2
    model = wukong_tf.load_run(str(run_dir))
    (user,) = [layer for layer in model.tables if "user" in layer.plan.features]
    table = np.asarray(user.table)[:40]
    np.testing.assert_array_equal(table, checkpoint["tables/user"])


@pytest.mark.full
@pytest.mark.parametrize("workers", [2, 4])
def test_sharded_tables_in_float64(data, wide, tmp_path, workers):
    options = {**WIDE, **SLICED, **SHARDED}
    finish(start_workers(workers, data, tmp_path / "run", **options))
    assert_same_run(wide, tmp_path / "run", **FLOAT64)


LONG = {"epochs": 12, "max_steps": 200}


@pytest.mark.full
def test_sharded_tables_over_200_steps_in_float64(data, tmp_path):
    """Losses, tables and metrics, of one, two and four workers."""
    finish(start_one(data, tmp_path / "one", **WIDE, **LONG))
    for workers in (1, 2, 4):
        options = {**WIDE, **LONG, **SHARDED}
        run_dir = tmp_path / f"of {workers}"
        finish(start_workers(workers, data, run_dir, **options))
        assert len(records(run_dir, "train")) == 50
        assert_same_run(tmp_path / "one", run_dir, **FLOAT64)


@pytest.mark.full
def test_sharded_tables_over_200_steps_in_float32(data, tmp_path):
    """As near to replicated ones as these are with other workers.

    They differ by the order of sums too, and training makes it larger.
    """
    for workers in (1, 2, 4):
        for name, placed in (("replicated", {}), ("sharded", SHARDED)):
            run_dir = tmp_path / f"{name} {workers}"
            finish(start_workers(workers, data, run_dir, **LONG, **placed))
    assert gaps(tmp_path / "replicated 1", tmp_path / "sharded 1") == (0, 0, 0)
    pairs = [(1, 2), (1, 4), (2, 4)]
    of_sums = np.max(
        [
            gaps(*(tmp_path / f"replicated {count}" for count in pair))
            for pair in pairs
        ],
        0,
    )
    for workers in (2, 4):
        found = gaps(
            tmp_path / f"replicated {workers}", tmp_path / f"sharded {workers}"
        )
        assert (np.array(found) <= 2 * of_sums).all(), (found, of_sums)


@pytest.mark.full
def test_two_of_four_tables_sharded(data, wide, tmp_path):
    options = {**WIDE, **SLICED, **SHARDED, "sharded_tables": "item,site"}
    said = finish(start_workers(2, data, tmp_path / "run", **options))
    assert "tables that every worker holds: user, tags; " in said
    differs, name = processes.largest_difference(wide, tmp_path / "run")
    assert differs <= 1e-12, name


@pytest.mark.full
@pytest.mark.parametrize("counts", [(2, 4), (4, 1), (1, 2), (2, 2)])
def test_sharded_tables_go_on_with_other_workers(data, wide, tmp_path, counts):
    """With sharded tables first, then with whole ones for (2, 2)."""
    run_dir = tmp_path / "run"
    for number, count in enumerate(counts):
        options = {"max_steps": 0 if number else LAST_STEP // 2, **WIDE}
        if count == 1:
            finish(start_one(data, run_dir, **options))
            continue
        if counts != (2, 2) or not number:
            options |= SHARDED
        finish(start_workers(count, data, run_dir, **options))
    differs, name = processes.largest_difference(wide, run_dir)
    assert differs <= FLOAT64["weights"], name


@pytest.mark.full
@pytest.mark.parametrize("workers", [2, 4])
def test_sharded_dense_state_in_float64(data, wide, tmp_path, workers):
    run_dir = tmp_path / "run"
    options = {**WIDE, **SLICED, **STATE}
    if workers == 4:
        options |= SHARDED
    said = finish(start_workers(workers, data, run_dir, **options))
    assert f"dense optimizer state sharded over {workers} workers: " in said
    assert_same_run(wide, run_dir, **FLOAT64)
    # A slot is one array, and in one file unless it is cut.
    checkpoint = runs.find_checkpoint(str(run_dir))
    slots = [name for name in checkpoint if name.endswith("_momentum")]
    cut = [name for name in slots if "shards" in checkpoint.entries[name]]
    assert 0 < len(cut) < workers and len(slots) > 10


@pytest.mark.full
def test_sharded_dense_state(data, one, tmp_path):
    finish(start_workers(2, data, tmp_path / "run", **SLICED, **STATE))
    assert_same_run(one, tmp_path / "run", **FLOAT32)


@pytest.mark.full
@pytest.mark.parametrize("counts", [(2, 1, 2), (1, 4, 2), (2, 2)])
def test_sharded_dense_state_goes_on_with_other_workers(
    data, wide, tmp_path, counts
):
    """With sharded state first, then with all of it for (2, 2)."""
    run_dir = tmp_path / "run"
    for number, count in enumerate(counts):
        steps = LAST_STEP * (number + 1) // len(counts)
        options = {**WIDE, "max_steps": steps if steps < LAST_STEP else 0}
        if count == 1:
            finish(start_one(data, run_dir, **options))
            continue
        if len(counts) > 2 or not number:
            options |= STATE
        finish(start_workers(count, data, run_dir, **options))
    differs, name = processes.largest_difference(wide, run_dir)
    assert differs <= FLOAT64["weights"], name
