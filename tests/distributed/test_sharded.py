"""A run with sharded tables is the same run, and survives the same."""

import os
import signal

import numpy as np
import pytest

import wukong_tf
from tests.distributed import processes
from tests.distributed.processes import (
    LAST_STEP,
    assert_same_run,
    finish,
    kill,
    largest_difference,
    start_one,
    start_workers,
    wait_for,
    workers_of,
)
from tests.distributed.test_equality import FLOAT32, FLOAT64, SLICED, WIDE
from tests.distributed.test_survival import OPTIONS, assert_ends_equal, begin
from wukong_tf import runs

pytestmark = pytest.mark.slow

SHARDED = {"table_placement": "sharded"}


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run on one device, with slices and importance."""
    run_dir = tmp_path_factory.mktemp("one") / "run"
    finish(start_one(data, run_dir, **SLICED))
    return run_dir


@pytest.fixture(scope="module")
def wide(data, tmp_path_factory):
    """A run on one device in float64."""
    run_dir = tmp_path_factory.mktemp("wide") / "run"
    finish(start_one(data, run_dir, **WIDE, **SLICED))
    return run_dir


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of two workers with sharded tables that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start_workers(2, data, run_dir, **OPTIONS, **SHARDED))
    return run_dir


def test_two_workers(data, one, tmp_path):
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
def test_workers_in_float64(data, wide, tmp_path, workers):
    options = {**WIDE, **SLICED, **SHARDED}
    finish(start_workers(workers, data, tmp_path / "run", **options))
    assert_same_run(wide, tmp_path / "run", **FLOAT64)


@pytest.mark.full
def test_some_tables_and_parts_of_a_batch(data, wide, tmp_path):
    options = {"sharded_tables": "item,site", "gradient_accumulation_steps": 2}
    finish(
        start_workers(
            2, data, tmp_path / "run", **options, **WIDE, **SLICED, **SHARDED
        )
    )
    differs, name = largest_difference(wide, tmp_path / "run")
    assert differs <= 1e-12, name


@pytest.mark.full
@pytest.mark.parametrize("counts", [(2, 4), (4, 1), (1, 2), (2, 2)])
def test_a_checkpoint_goes_on_with_other_workers(data, wide, tmp_path, counts):
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
    differs, name = largest_difference(wide, run_dir)
    assert differs <= FLOAT64["weights"], name


@pytest.mark.full
def test_warm_start_from_and_with_sharded_tables(data, tmp_path):
    finish(start_workers(2, data, tmp_path / "first", **WIDE, **SHARDED))
    options = {**WIDE, "init_from": tmp_path / "first", "max_steps": 5}
    finish(start_one(data, tmp_path / "one", **options))
    said = finish(
        start_workers(2, data, tmp_path / "two", **options, **SHARDED)
    )
    assert "table user: 40 rows matched, 0 new, 0 dropped" in said
    differs, name = largest_difference(tmp_path / "one", tmp_path / "two")
    assert differs <= FLOAT64["weights"], name


@pytest.mark.full
@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_worker_is_started_again(data, whole, tmp_path, lost):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 24, "--max_restarts=1", **SHARDED)
    kill(pids[lost])
    said = finish(launcher)
    assert "resuming from step 20" in said or "from step 10" in said
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_sigterm_saves_the_rows_of_all(data, whole, tmp_path):
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 20, **SHARDED)
    kill(pids[1], signal.SIGTERM)
    finish(launcher, 75)
    stopped = runs.find_checkpoint(str(run_dir), "latest").step
    said = finish(start_workers(2, data, run_dir, **OPTIONS, **SHARDED))
    assert f"resuming from step {stopped}" in said
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_killed_while_rows_are_written(data, whole, tmp_path):
    run_dir = tmp_path / "run"
    options = {**OPTIONS, **SHARDED}
    launcher = start_workers(2, data, run_dir, "--max_restarts=1", **options)
    pids = workers_of(launcher, 2)
    folder = run_dir / "checkpoints"

    def writes():
        return folder.is_dir() and any(
            name.endswith("-shards") for name in os.listdir(folder)
        )

    wait_for(lambda: processes.step_of(run_dir) >= 20, launcher, "step 20")
    wait_for(writes, launcher, "a worker's rows")
    kill(pids[1])
    finish(launcher)
    assert not writes()
    assert_ends_equal(run_dir, whole)


def test_replicas_of_one_process_are_refused(data, tmp_path):
    said = finish(
        start_one(
            data,
            tmp_path / "run",
            strategy="mirrored",
            cpu_replicas=2,
            **SHARDED,
        ),
        2,
    )
    assert "--table_placement=sharded needs one replica in each process" in said
    assert "python -m trainer.launch --workers=2 -- FLAGS" in said
