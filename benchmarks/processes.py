"""Runs parts of a benchmark in separate processes."""

import json
import os
import subprocess
import sys


def run(module: str, *arguments: str) -> str:
    """Runs `python -m MODULE ARGUMENTS` and returns its last line.

    Its stderr is reported only if it fails.

    Raises:
        RuntimeError: the exit code is not 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{module}: exit code {done.returncode}\n{done.stderr}"
        )
    return (done.stdout.splitlines() or [""])[-1]


def train(
    workers: int, run_dir: str, steps: int, warm_up: int, *arguments: str
) -> tuple[list[float], list[int]]:
    """Trains on workers of this machine, with one thread per operation.

    Args:
        workers: number of workers.
        run_dir: a new run directory.
        steps: steps of the run.
        warm_up: first steps, which are not measured; steps of a record.
        *arguments: other flags of the trainer.

    Returns:
        Rows per second of each record of `warm_up` steps, and the resident
        bytes of each worker at the end of each.

    Raises:
        RuntimeError: the exit code is not 0.
    """
    run(
        "trainer.launch",
        f"--workers={workers}",
        "--",
        f"--run_dir={run_dir}",
        f"--max_steps={steps}",
        f"--eval_every_steps={steps}",
        f"--steps_per_loop={warm_up}",
        *("--intra_op_threads=1", "--inter_op_threads=1", "--plots=false"),
        *("--importance_rows=0", "--async_checkpoints=false"),
        *arguments,
    )
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    records = [
        r for r in records if r["kind"] == "train" and r["step"] > warm_up
    ]
    memory = [
        figures["memory_bytes"]
        for record in records
        for figures in record.get("workers", {"0": record}).values()
    ]
    return [record["examples_per_s"] for record in records], memory
