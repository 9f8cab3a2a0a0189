"""Few rows, few descriptors, other addresses and numbers of workers."""

import json
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    start_command,
    start_one,
    start_worker,
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
ROOT = Path(__file__).resolve().parents[2]


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


def test_a_worker_that_comes_a_minute_late(data, tmp_path):
    """After the others have met nobody for longer than a heartbeat's time."""
    ports = free_ports(2)
    options = {"cluster_timeout_s": 200, "worker_timeout_s": 6}
    first = start_worker(0, ports, data, tmp_path / "run", **options)
    time.sleep(60)
    assert first.poll() is None
    second = start_worker(1, ports, data, tmp_path / "run", **options)
    finish(second)
    finish(first)
    finish(start_workers(2, data, tmp_path / "prompt"))
    differs, name = largest_difference(tmp_path / "prompt", tmp_path / "run")
    assert differs == 0, name


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


@pytest.mark.parametrize("mb, code", [(1500, 2), (2500, None), (9000, 0)])
def test_a_limit_of_the_address_space(data, tmp_path, mb, code):
    """Whatever refuses memory and how, a line says so, and nothing is lost."""
    command = [sys.executable, "-m", "trainer.main"]
    command += flags_of(data, tmp_path / "run")
    ended = subprocess.run(
        ["bash", "-c", f"ulimit -v {mb}000; exec {shlex.join(command)}"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == code or code is None, said
    assert "Traceback" not in said
    limited = "warning: this process may map" in said
    assert limited == (mb < 9000)
    if code == 2:
        assert (
            "error: out of memory on this machine: " in said
            and "(ulimit -v)" in said
        )
    finish(start_one(data, tmp_path / "run"))
    assert step_of(tmp_path / "run") == LAST_STEP


def test_memory_that_runs_out_while_training(data, tmp_path):
    """The limit is set to what the process maps already."""
    run_dir = tmp_path / "run"
    options = {"checkpoint_every_steps": 4, "eval_every_steps": 4}
    process = start_one(data, run_dir, **options)
    wait_for(lambda: step_of(run_dir) >= 8, process, "step 8")
    mapped = Path(f"/proc/{process.pid}/statm").read_text().split()[0]
    limit = int(mapped) * resource.getpagesize()
    resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
    said, _ = process.communicate(timeout=280)
    if process.returncode:  # else what it had was enough
        assert process.returncode in (2, -signal.SIGABRT), said
    finish(start_one(data, run_dir, **options))
    plain = tmp_path / "plain"
    finish(start_one(data, plain, **options))
    differs, name = largest_difference(plain, run_dir)
    assert differs == 0, name


FULL_TMP = r"""
set -e
mount --bind "$1" /mnt
for folder in /tmp /var/tmp; do
    mount -t tmpfs -o size=64k tmpfs $folder
    cat /dev/zero > $folder/filler 2> /dev/null || true
done
cd /tmp
mkdir /mnt/log
cp /mnt/days/2026-03-02.csv /mnt/log/train.csv
cp /mnt/days/2026-03-03.csv /mnt/log/valid.csv
cp /mnt/days/2026-03-04.csv /mnt/log/test.csv
flags="--num_layers=1 --embedding_dim=4 --epochs=1"
run() { echo "$*"; "$python" -m "$@"; }
run trainer.prepare --dataset=csv --input=/mnt/log --output=/mnt/data
run trainer.main --data_dir=/mnt/data --run_dir=/mnt/run $flags
run trainer.main --mode=predict --run_dir=/mnt/run \
    --predict_files=/mnt/days/tomorrow.csv --output=/mnt/predicted.parquet
run export.main --run_dir=/mnt/run --output=/mnt/versions --version=1 \
    --onnx_dense=int8 --max_auc_change=1 --max_ne_change=1 \
    --max_logit_change=100
run export.score --model=/mnt/versions/1 --input=/mnt/days/tomorrow.csv \
    --output=/mnt/scores
"""


def test_a_full_tmp(tmp_path):
    """Every program writes where it was asked to, and nowhere else."""
    if subprocess.run(
        ["unshare", "-m", "true"], capture_output=True
    ).returncode:
        pytest.skip("file systems of its own need the right to mount")
    days = f"--output={tmp_path / 'days'}"
    finish(start("trainer.example_log", days, "--rows=2000"))
    said = finish(
        start_command(
            *["unshare", "-m", "bash", "-c", FULL_TMP, "-", str(tmp_path)],
            environment={"python": sys.executable, "PYTHONPATH": str(ROOT)},
        )
    )
    assert "published" in said
