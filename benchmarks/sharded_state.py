"""Measures sharded optimizer state: `python -m benchmarks.sharded_state`.

Trains a Wukong of 71 million dense parameters by Adam, once with
replicated and once with sharded dense state, on rows of the synthetic log, 32
per worker and step, with one thread per operation.

Memory: the median over steps and workers of a worker's resident memory with
replicated state, less that with sharded state, over the bytes of the slots that
a worker no longer holds; at least 0.8. Rates: rows per second with sharded over
those with replicated state.
"""

import json
import math
import os
import statistics
import sys
import tempfile

from absl import flags

from benchmarks import processes, run_program

WORKERS = flags.DEFINE_integer("workers", 2, "Number of workers.")
STEPS = flags.DEFINE_integer(
    "steps", 12, "Measured steps of a run, after two steps of warm-up."
)

BAR = 0.8
BATCH, UNITS, LAYERS, WARM_UP = 32, 4096, 4, 2


def run(run_dir: str, state: str):
    """Trains; returns medians of rows per second and of resident bytes."""
    steps, batch = WARM_UP + STEPS.value, BATCH * WORKERS.value
    rates, memory = processes.train(
        WORKERS.value,
        run_dir,
        steps,
        WARM_UP,
        "--synthetic",
        f"--synthetic_train_rows={batch * steps}",
        *("--synthetic_valid_rows=64", "--synthetic_test_rows=64"),
        f"--dense_state={state}",
        f"--batch_size={batch}",
        f"--num_layers={LAYERS}",
        f"--mlp_units={UNITS},{UNITS}",
    )
    return statistics.median(rates), round(statistics.median(memory))


def state_bytes(run_dir: str) -> int:
    """Returns the bytes of the dense optimizer's slots in a checkpoint."""
    from wukong_tf import runs

    return sum(
        4 * math.prod(entry["shape"])
        for name, entry in runs.find_checkpoint(run_dir).entries.items()
        if name.startswith("optimizer/dense/") and entry["shape"]
    )


def main(argv):
    """Measures and prints the result."""
    del argv
    rates, memory, state = {}, {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("replicated", "sharded"):
            run_dir = os.path.join(folder, kind)
            rate, memory[kind] = run(run_dir, kind)
            rates[kind] = round(rate, 1)
            state = state_bytes(run_dir)
            print(f"{kind}: {rate:.1f}, {memory[kind]:,}", file=sys.stderr)
    workers = WORKERS.value
    saved = memory["replicated"] - memory["sharded"]
    value = round(saved / (state * (workers - 1) / workers), 3)
    result = {
        "name": "sharded_state",
        "value": value,
        "unit": "memory saved over the bytes of the slots of other workers",
        "bar": BAR,
        "holds": value >= BAR,
        "workers": workers,
        "state_bytes": state,
        "memory_bytes": memory,
        "bytes_saved": saved,
        "examples_per_s": rates,
        "sharded_over_replicated_ratios": round(
            rates["sharded"] / rates["replicated"], 3
        ),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
