"""The same run on GPUs, where NCCL sums: `make test-gpu`.

Never run yet: no two GPUs were at hand. What is on CPUs, is in test_equality.
"""

import shutil
import subprocess

import pytest

from tests.distributed import processes
from tests.distributed.processes import (
    assert_same_run,
    finish,
    start_one,
    start_workers,
)


def gpus() -> int:
    """GPUs of this machine."""
    if shutil.which("nvidia-smi") is None:
        return 0
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return done.stdout.count("UUID: GPU")


COUNT = gpus()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        COUNT < 2, reason=f"NCCL needs two GPUs or more; there are {COUNT}"
    ),
]
# Products of float32 in full, or each replica rounds by its batch.
ENVIRONMENT = {"NVIDIA_TF32_OVERRIDE": "0"}
TOLERANCE = {"weights": 1e-4, "metrics": 1e-5, "auc": 1e-3}


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run on one GPU."""
    run_dir = tmp_path_factory.mktemp("one") / "run"
    environment = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "0"}
    finish(start_one(data, run_dir, environment=environment))
    return run_dir


def test_mirrored_over_all_gpus(data, one, tmp_path):
    devices = ",".join(map(str, range(COUNT)))
    environment = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": devices}
    said = finish(start_one(data, tmp_path / "run", environment=environment))
    assert "summed by NCCL" in said and f"{COUNT} replica(s)" in said
    assert_same_run(one, tmp_path / "run", **TOLERANCE)


@pytest.mark.parametrize("way", ["gather", "reduce"])
def test_a_process_for_each_gpu(data, one, tmp_path, way):
    devices = ",".join(map(str, range(COUNT)))
    said = finish(
        start_workers(
            COUNT,
            data,
            tmp_path / "run",
            environment={**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": devices},
            table_exchange=way,
        )
    )
    assert "summed by NCCL" in said
    assert_same_run(one, tmp_path / "run", **TOLERANCE)


def test_a_checkpoint_of_gpus_goes_on_on_a_cpu(data, one, tmp_path):
    run_dir = tmp_path / "run"
    half = processes.LAST_STEP // 2
    environment = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "0,1"}
    finish(
        start_workers(2, data, run_dir, environment=environment, max_steps=half)
    )
    finish(start_one(data, run_dir))
    differs, name = processes.largest_difference(one, run_dir)
    assert differs <= TOLERANCE["weights"], name
