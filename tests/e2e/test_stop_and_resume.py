"""Real processes that are stopped or killed, and go on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import tiers
from trainer.main import EXIT_RESUME
from wukong_tf import runs

pytestmark = pytest.mark.slow

FLAGS = [
    "--synthetic",
    "--synthetic_train_rows=40000",
    "--synthetic_valid_rows=4000",
    "--synthetic_test_rows=4000",
    "--batch_size=256",
    "--steps_per_loop=4",
    "--eval_every_steps=60",
    "--checkpoint_every_steps=20",
    "--dropout=0.1",
    "--num_layers=2",
    "--intra_op_threads=1",
    "--inter_op_threads=1",
    "--noplots",
]


def start(run_dir, *more):
    command = [sys.executable, "-m", "trainer.main", *FLAGS, *more]
    return subprocess.Popen(
        [*command, f"--run_dir={run_dir}"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def finish(process):
    """Exit code and what was said, within a bound."""
    _, said = process.communicate(timeout=240)
    return process.returncode, said


def wait_for_checkpoint(run_dir, process):
    """Until the run has its first checkpoint."""
    for _ in range(1200):
        if runs.checkpoint_paths(run_dir):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("no checkpoint came")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The last checkpoint of a run that nothing disturbed."""
    run_dir = str(tmp_path_factory.mktemp("whole") / "run")
    code, said = finish(start(run_dir))
    assert code == 0, said
    assert "threads: intra-op 1, inter-op 1" in said
    return dict(runs.find_checkpoint(run_dir, "latest"))


def assert_ends_equal(run_dir, whole):
    found = runs.find_checkpoint(run_dir, "latest")
    assert found.step == 157
    for name, array in whole.items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


@pytest.mark.parametrize("number", tiers.first([signal.SIGTERM, signal.SIGINT]))
def test_signal_saves_and_the_same_command_goes_on(number, tmp_path, whole):
    run_dir = str(tmp_path / "run")
    process = start(run_dir)
    wait_for_checkpoint(run_dir, process)
    process.send_signal(number)
    code, said = finish(process)
    assert code == EXIT_RESUME, said
    assert signal.Signals(number).name in said
    assert f"to resume, run again: python -m trainer.main {FLAGS[0]}" in said
    stopped = runs.find_checkpoint(run_dir, "latest").step
    assert stopped < 157, "the run ended before the signal"
    code, said = finish(start(run_dir))
    assert code == 0, said
    assert f"resuming from step {stopped}" in said
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_killed_run_goes_on_from_its_last_checkpoint(tmp_path, whole):
    run_dir = str(tmp_path / "run")
    process = start(run_dir)
    wait_for_checkpoint(run_dir, process)
    process.kill()
    finish(process)
    leftover = os.path.join(run_dir, "checkpoints", ".unfinished-0000000024")
    os.makedirs(leftover, exist_ok=True)
    code, said = finish(start(run_dir))
    assert code == 0, said
    assert "resuming from step" in said
    assert not os.path.exists(leftover)
    assert_ends_equal(run_dir, whole)


@pytest.mark.full
def test_deterministic_runs_and_waits_are_measured(tmp_path):
    run_dir = str(tmp_path / "run")
    options = ["--deterministic", "--max_steps=12", "--eval_every_steps=12"]
    code, said = finish(start(run_dir, *options))
    assert code == 0, said
    assert "% waiting for input" in said
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    waits = [r["input_wait"] for r in records if r["kind"] == "train"]
    assert len(waits) == 3
    assert all(0 < wait < 1 for wait in waits)
