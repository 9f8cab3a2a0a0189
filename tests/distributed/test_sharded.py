"""Sharded tables: bfloat16, warm starts and what is refused."""

import numpy as np
import pytest

from tests.distributed.processes import (
    finish,
    largest_difference,
    records,
    start_one,
    start_worker,
    start_workers,
    write_log,
)
from tests.distributed.test_equality import FLOAT64, SHARDED, STATE, WIDE
from tests.distributed.test_survival import OPTIONS
from trainer.launch import free_ports
from wukong_tf import runs

pytestmark = pytest.mark.slow


@pytest.mark.full
def test_rows_as_bfloat16_and_then_as_float32(data, tmp_path):
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    narrow = {**OPTIONS, **SHARDED, "sharded_exchange_dtype": "bfloat16"}
    said = finish(start_workers(2, data, run_dir, **{**narrow, "max_steps": 8}))
    assert "bytes a step, rows and gradients as bfloat16" in said
    wide = {**OPTIONS, **SHARDED, "max_steps": 16}
    finish(start_workers(2, data, whole, **wide))
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
def test_vocabularies_grow_in_shards(data, tmp_path):
    """Rows and their optimizer state go to the workers that own them now."""
    grown = write_log(tmp_path / "log", user=70, item=45, seen=45)
    options = {**WIDE, "init_from": tmp_path / "first", "init_optimizer": True}
    finish(start_workers(2, data, tmp_path / "first", **WIDE, **SHARDED))
    finish(start_one(grown, tmp_path / "one", **options))
    for workers in (2, 4):
        run_dir = tmp_path / f"of {workers}"
        said = finish(
            start_workers(workers, grown, run_dir, **options, **SHARDED)
        )
        assert "table user: 40 rows matched, 30 new, 0 dropped" in said
        assert "table item: 30 rows matched, 15 new, 0 dropped" in said
        differs, name = largest_difference(tmp_path / "one", run_dir)
        assert differs <= FLOAT64["weights"], name


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


@pytest.mark.full
def test_workers_evaluate_with_the_same_placement(data, tmp_path):
    run_dir, ports = tmp_path / "run", free_ports(2)
    finish(start_one(data, run_dir, max_steps=2))
    workers = [
        start_worker(index, ports, data, run_dir, mode="eval", **options)
        for index, options in enumerate([SHARDED, {}])
    ]
    for worker in workers:
        said = finish(worker, 2)
        assert 'sharded_tables is ["user", "item", ' in said
        assert "for worker 0 and [] for worker 1" in said
