"""Runs of the trainer as processes, and what they end with."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.trainer.cli import arguments
from tests.worlds import logs, rich_clicks
from wukong_tf import runs
from wukong_tf.config import NumericFeature

TIMEOUT_S = 280
ROWS = {"train": 1003, "valid": 203, "test": 305}
# oneDNN chooses its kernels by the rows of a batch, and they round otherwise:
# far more than another order of sums does.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
FLAGS = {
    "batch_size": 60,
    "eval_batch_size": 64,
    "epochs": 2,
    "shuffle_rows": 300,
    "data_lanes": 4,
    "steps_per_loop": 4,
    "eval_every_steps": 12,
    "num_layers": 2,
    "num_fmb": 3,
    "num_lcb": 3,
    "rank": 3,
    "mlp_units": 8,
    "embedding_dim": 6,
    "numeric_embeddings": 1,
    "bottom_mlp_units": 8,
    "head_units": 16,
    "clipnorm": 0.5,
    "embedding_l2": 0.01,
    "average_weights": 0.9,
    "intra_op_threads": 1,
    "inter_op_threads": 1,
    "worker_timeout_s": 6,
    "cluster_timeout_s": 60,
    "plots": False,
    "importance_rows": 0,
}
LAST_STEP = 2 * -(-ROWS["train"] // FLAGS["batch_size"])


def write_log(folder: Path, rows: dict[str, int] = ROWS, **num_ids: int) -> str:
    """A log with dense and multi-hot features, ids repeated in any batch.

    `num_ids` sets features' numbers of ids, of which no more occur.
    """
    # TensorFlow's log1p of float32 differs by a bit between a vector's whole
    # registers and its rest, so that of a row depends on its batch.
    spec = dataclasses.replace(
        rich_clicks.SPEC,
        numeric=(NumericFeature("price", stddev=3.0),),
        categorical=tuple(
            dataclasses.replace(f, num_ids=num_ids.get(f.name, f.num_ids))
            for f in rich_clicks.SPEC.categorical
        ),
    )
    return logs.write_log(folder, spec, rich_clicks.table, rows, group_rows=64)


def flags_of(data: str, run_dir: Path | str, **options) -> list[str]:
    """The trainer's flags."""
    return arguments(data_dir=data, run_dir=run_dir, **{**FLAGS, **options})


def start(*command: str, environment=None, cwd=None) -> subprocess.Popen:
    """`python -m COMMAND`, begun; what it says goes to one pipe."""
    return start_python("-m", *command, environment=environment, cwd=cwd)


def start_python(
    *arguments: str, environment=None, cwd=None
) -> subprocess.Popen:
    """`python ARGUMENTS`, begun in a process group of its own."""
    return start_command(
        sys.executable, *arguments, environment=environment, cwd=cwd
    )


def start_command(
    *command: str, environment=None, cwd=None
) -> subprocess.Popen:
    """A command, begun in a process group of its own."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ENVIRONMENT, **(environment or {})},
        cwd=cwd,
        start_new_session=True,
        # Whatever the tests were started by: a shell's & ignores Ctrl-C.
        preexec_fn=_heed_signals,
    )


def _heed_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start_one(
    data, run_dir, *, environment=None, **options
) -> subprocess.Popen:
    """A run in one process."""
    return start(
        "trainer.main",
        *flags_of(data, run_dir, **options),
        environment=environment,
    )


def start_workers(
    count, data, run_dir, *launch: str, environment=None, **options
) -> subprocess.Popen:
    """A run of several workers."""
    flags = flags_of(data, run_dir, **options)
    return start(
        "trainer.launch",
        f"--workers={count}",
        *launch,
        "--",
        *flags,
        environment=environment,
    )


def start_worker(
    index, ports, data, run_dir, *, cwd=None, **options
) -> subprocess.Popen:
    """One worker of a cluster on loopback ports, without the launcher."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    task = {"type": "worker", "index": index}
    return start(
        "trainer.main",
        *flags_of(data, run_dir, **options),
        environment={
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})
        },
        cwd=cwd,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """What a process said, once it has ended with `code`."""
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise AssertionError(f"it hangs:\n{said}") from None
    assert process.returncode == code, said
    return said


def workers_of(launcher: subprocess.Popen, count: int) -> list[int]:
    """Process ids of a launcher's workers, by number."""
    found: dict[int, int] = {}
    for _ in range(600):
        listed = subprocess.run(
            ["pgrep", "-P", str(launcher.pid)], capture_output=True, text=True
        )
        for pid in listed.stdout.split():
            try:
                text = Path(f"/proc/{pid}/environ").read_text()
            except OSError:
                continue
            for entry in text.split("\0"):
                if entry.startswith("TF_CONFIG="):
                    task = json.loads(entry.partition("=")[2])["task"]
                    found[task["index"]] = int(pid)
        if len(found) == count:
            return [found[number] for number in range(count)]
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.05)
    raise AssertionError(f"of {count} workers came {found}")


def wait_for(condition, process: subprocess.Popen, what: str):
    """Until something holds, while a process runs."""
    for _ in range(int(TIMEOUT_S / 0.02)):
        if condition():
            return
        if process.poll() is not None:
            raise AssertionError(
                f"it ended before {what}:\n{process.communicate()[0]}"
            )
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"{what} did not come:\n{process.communicate()[0]}")


def records(run_dir, kind: str) -> list[dict]:
    """The whole records of a kind in metrics.jsonl."""
    try:
        text = (Path(run_dir) / "metrics.jsonl").read_text()
    except OSError:
        return []
    lines = text.split("\n")[:-1]
    found = [json.loads(line) for line in lines]
    return [record for record in found if record["kind"] == kind]


def step_of(run_dir) -> int:
    """The step that the run has reached, as far as it said."""
    found = records(run_dir, "train")
    return found[-1]["step"] if found else 0


def kill(pid: int, number: signal.Signals = signal.SIGKILL):
    """Sends a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def largest_difference(first, second) -> tuple[float, str]:
    """That of two runs' last checkpoints, and the array that has it."""
    one, other = (
        runs.find_checkpoint(str(run_dir), "latest")
        for run_dir in (first, second)
    )
    assert one.step == other.step
    assert set(one) == set(other)
    found = (-1.0, "")
    for name in one:
        a, b = np.asarray(one[name]), np.asarray(other[name])
        assert a.dtype == b.dtype and a.shape == b.shape, name
        if not a.size:
            continue
        differs = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
        found = max(found, (float(differs), name))
    return found


def metrics_of(run_dir) -> dict[str, float]:
    """Losses and metrics of a run that has ended, by name."""
    found = {}
    for record in records(run_dir, "train"):
        found[f"loss {record['step']}"] = record["loss"]
    for record in records(run_dir, "valid"):
        for task in ("click", "buy"):
            for name, value in record[task].items():
                found[f"valid {record['step']} {task} {name}"] = value
    report = json.loads((Path(run_dir) / "report/metrics.json").read_text())
    for split in ("valid", "test"):
        for task, values in report[split].items():
            for name, value in values.items():
                found[f"report {split} {task} {name}"] = value
    important = report.get("importance", {"tasks": {}})
    for task, features in important["tasks"].items():
        for each in features:
            found[f"importance {task} {each['feature']}"] = each["mean"]
    for feature, tasks in report.get("slices", {}).get("features", {}).items():
        for task, slices in tasks.items():
            for each in slices["largest"]:
                name = f"slice {feature} {each['value']} {task}"
                found[f"{name} rows"] = each["rows"]
                found[f"{name} positives"] = each["positives"]
    return found


def gaps(first, second) -> tuple[float, float, float]:
    """Largest differences of two runs: weights, metrics but AUC, and AUC."""
    weights, _ = largest_difference(first, second)
    one, other = metrics_of(first), metrics_of(second)
    assert one.keys() == other.keys()
    of_auc, others = [0.0], [0.0]
    for name, value in one.items():
        part = of_auc if name.endswith("auc") else others
        part.append(abs(value - other[name]))
    return weights, max(others), max(of_auc)


def assert_same_run(first, second, weights: float, metrics: float, auc: float):
    """Two runs end with the same weights, losses and metrics."""
    differs, name = largest_difference(first, second)
    assert differs <= weights, name
    one, other = metrics_of(first), metrics_of(second)
    assert one.keys() == other.keys()
    for name, value in one.items():
        bound = auc if name.endswith("auc") else metrics
        assert abs(value - other[name]) <= bound, (name, value, other[name])
