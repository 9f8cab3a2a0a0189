"""Few rows, few descriptors, other addresses and numbers of workers."""

import json
import shlex
import subprocess
import sys

import pyarrow as pa
import pytest

from tests.distributed.processes import (
    LAST_STEP,
    assert_same_run,
    finish,
    flags_of,
    largest_difference,
    records,
    start,
    start_one,
    start_workers,
    step_of,
    wait_for,
    write_log,
)
from tests.trainer.cli import arguments
from tests.worlds import logs
from trainer.launch import free_ports
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run in one process."""
    run_dir = tmp_path_factory.mktemp("one") / "run"
    finish(start_one(data, run_dir))
    return run_dir


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_workers_by_name_and_by_ipv6(data, one, tmp_path, host):
    workers = [f"{host}:{port}" for port in free_ports(2)]
    processes = [
        start(
            "trainer.main",
            *flags_of(data, tmp_path / "run"),
            environment={
                "TF_CONFIG": json.dumps(
                    {
                        "cluster": {"worker": workers},
                        "task": {"type": "worker", "index": index},
                    }
                )
            },
        )
        for index in range(2)
    ]
    for process in processes:
        finish(process)
    assert_same_run(one, tmp_path / "run", 1e-4, 1e-4, 1e-3)


def test_the_number_of_workers_changes_over_resumes(data, one, tmp_path):
    run_dir = tmp_path / "run"
    for count, last in ((1, 8), (2, 16), (3, 24), (1, LAST_STEP)):
        if count == 1:
            process = start_one(data, run_dir, max_steps=last)
        else:
            process = start_workers(count, data, run_dir, max_steps=last)
        finish(process)
        assert step_of(run_dir) == last
    differs, name = largest_difference(one, run_dir)
    assert differs < 1e-4, name


@pytest.mark.parametrize("steps", [1, 10_000])
def test_any_length_of_a_loop(data, one, tmp_path, steps):
    finish(start_one(data, tmp_path / "run", steps_per_loop=steps))
    assert largest_difference(one, tmp_path / "run")[0] == 0


@pytest.mark.parametrize("kind", ["workers", "replicas"])
def test_fewer_rows_than_replicas(tmp_path, kind):
    """In the last batch, and in whole splits."""
    data = write_log(tmp_path / "log", {"train": 241, "valid": 1, "test": 1})
    run_dir = tmp_path / "run"
    if kind == "workers":
        finish(start_workers(2, data, run_dir))
    else:
        finish(start_one(data, run_dir, strategy="mirrored", cpu_replicas=4))
    finish(start_one(data, tmp_path / "one"))
    differs, name = largest_difference(tmp_path / "one", run_dir)
    assert differs < 1e-4, name
    assert records(run_dir, "valid")[-1]["click"]["rows"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_log_and_a_table_of_one_row(tmp_path, workers):
    spec = FeatureSpec(
        categorical=(CategoricalFeature("user", 1),),
        numeric=(NumericFeature("price"),),
    )

    def row(_, number):
        return pa.table({"user": [0], "price": [number + 1.0], "label": [1]})

    data = logs.write_log(tmp_path / "log", spec, row)
    finish(
        start(
            "trainer.launch",
            f"--workers={workers}",
            "--",
            *arguments(
                data_dir=data,
                run_dir=tmp_path / "run",
                batch_size=4,
                epochs=2,
                num_fmb=1,
                num_lcb=1,
                rank=1,
                worker_timeout_s=6,
            ),
        )
    )
    assert step_of(tmp_path / "run") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_64_open_files_are_enough(data, tmp_path, workers):
    command = [sys.executable, "-m", "trainer.main"]
    if workers > 1:
        command[2:] = ["trainer.launch", f"--workers={workers}", "--"]
    command += flags_of(data, tmp_path / "run")
    shell = f"ulimit -n 64; exec {shlex.join(command)}"
    subprocess.run(["bash", "-c", shell], check=True, timeout=280)
    assert step_of(tmp_path / "run") == LAST_STEP


def test_two_launchers_on_one_machine(data, one, tmp_path):
    launchers = [
        start_workers(2, data, tmp_path / f"run{number}") for number in range(2)
    ]
    for launcher in launchers:
        finish(launcher)
    differs, name = largest_difference(tmp_path / "run0", tmp_path / "run1")
    assert differs == 0, name


def test_an_export_of_a_run_that_trains_and_prunes(data, tmp_path):
    run_dir = tmp_path / "run"
    trainer = start_one(
        data,
        run_dir,
        epochs=500,
        checkpoint_every_steps=2,
        keep_checkpoints=1,
        eval_every_steps=40,
    )
    wait_for(lambda: step_of(run_dir) >= 10, trainer, "step 10")
    said = finish(
        start(
            "export.main",
            f"--run_dir={run_dir}",
            f"--output={tmp_path / 'output'}",
        )
    )
    assert "published" in said
    assert trainer.poll() is None
    trainer.terminate()
    finish(trainer, 75)
