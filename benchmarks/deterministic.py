"""Measures --deterministic's cost: `python -m benchmarks.deterministic`.

Trains the model of configs/polynomial.flags alternately with and without the
flag, each run in a separate process. The value is the median over pairs of the
throughput with the flag over that without. The last line is the result, as
JSON.
"""

import json
import os
import statistics
import sys
import tempfile

from absl import flags

from benchmarks import processes, run_program

PAIRS = flags.DEFINE_integer("pairs", 5, "Pairs of runs.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 300, "Steps of a run.", lower_bound=1)


def examples_per_s(run_dir: str, *more: str) -> float:
    """Returns the throughput without the first window, which traces."""
    processes.run(
        "trainer.main",
        "--flagfile=configs/polynomial.flags",
        "--compare_runs=",
        f"--run_dir={run_dir}",
        f"--max_steps={STEPS.value}",
        "--steps_per_loop=50",
        "--synthetic_valid_rows=8192",
        "--synthetic_test_rows=8192",
        *more,
    )
    with open(os.path.join(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    rates = [r["examples_per_s"] for r in records if r["kind"] == "train"]
    return statistics.median(rates[1:] or rates)


def main(argv):
    """Runs the pairs and prints the result."""
    del argv
    ratios, with_flag, without = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(PAIRS.value):
            without.append(examples_per_s(f"{folder}/{pair}a"))
            with_flag.append(
                examples_per_s(f"{folder}/{pair}b", "--deterministic")
            )
            ratios.append(with_flag[-1] / without[-1])
            print(f"pair {pair + 1}: {ratios[-1]:.3f}", file=sys.stderr)
    result = {
        "name": "deterministic",
        "value": statistics.median(ratios),
        "unit": "examples/s with --deterministic over examples/s without",
        "bar": None,  # a cost to report, without a limit
        "holds": None,
        "ratios": ratios,
        "examples_per_s_with": statistics.median(with_flag),
        "examples_per_s_without": statistics.median(without),
        "steps": STEPS.value,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
