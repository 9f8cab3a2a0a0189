"""A run with sharded tables survives what others do."""

import os
import signal

import numpy as np
import pytest

from tests.distributed import processes
from tests.distributed.processes import (
    finish,
    kill,
    largest_difference,
    records,
    start_one,
    start_workers,
    wait_for,
    workers_of,
)
from tests.distributed.test_equality import FLOAT64, SHARDED, STATE, WIDE
from tests.distributed.test_survival import OPTIONS, assert_ends_equal, begin
from wukong_tf import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of two workers with sharded tables that nothing disturbed."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(start_workers(2, data, run_dir, **OPTIONS, **SHARDED))
    return run_dir


@pytest.mark.full
def test_rows_as_bfloat16_and_then_as_float32(data, whole, tmp_path):
    run_dir = tmp_path / "run"
    narrow = {**OPTIONS, **SHARDED, "sharded_exchange_dtype": "bfloat16"}
    said = finish(start_workers(2, data, run_dir, **{**narrow, "max_steps": 8}))
    assert "bytes a step, rows and gradients as bfloat16" in said
    wide = {**OPTIONS, **SHARDED, "max_steps": 16}
    said = finish(start_workers(2, data, run_dir, **wide))
    assert "resuming from step 8" in said
    assert "rows and gradients as" not in said
    found, expected = (
        {r["step"]: r["loss"] for r in records(folder, "train")}
        for folder in (run_dir, whole)
    )
    assert len(found) == 8
    gaps = [abs(found[step] - expected[step]) for step in sorted(found)]
    # Of the first step only by rounding; training makes it larger.
    assert 0 < gaps[0] < 0.01 and max(gaps) < 0.2
    checkpoint = runs.find_checkpoint(str(run_dir))
    assert checkpoint["tables/user"].dtype == np.float32


@pytest.mark.full
@pytest.mark.parametrize("sharded", [SHARDED, STATE])
def test_warm_start_from_and_with_shards(data, tmp_path, sharded):
    finish(start_workers(2, data, tmp_path / "first", **WIDE, **sharded))
    options = {**WIDE, "init_from": tmp_path / "first", "max_steps": 5}
    finish(start_one(data, tmp_path / "one", **options))
    said = finish(
        start_workers(2, data, tmp_path / "two", **options, **sharded)
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
    """Those of tables and of the dense part's optimizer state."""
    run_dir = tmp_path / "run"
    launcher, pids = begin(data, run_dir, 20, **SHARDED, **STATE)
    kill(pids[1], signal.SIGTERM)
    finish(launcher, 75)
    stopped = runs.find_checkpoint(str(run_dir), "latest").step
    options = {**OPTIONS, **SHARDED, **STATE}
    said = finish(start_workers(2, data, run_dir, **options))
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


@pytest.mark.parametrize("sharded", [SHARDED, STATE])
def test_replicas_of_one_process_are_refused(data, tmp_path, sharded):
    said = finish(
        start_one(
            data,
            tmp_path / "run",
            strategy="mirrored",
            cpu_replicas=2,
            **sharded,
        ),
        2,
    )
    (flag,) = sharded
    assert f"--{flag}=sharded needs one replica in each process" in said
    assert "python -m trainer.launch --workers=2 -- FLAGS" in said
