"""Measures preparing a log: `python -m benchmarks.prepare_memory`.

Writes two logs in Criteo's format (tab-separated: a label, 13 integers and 26
tokens, some missing; 200,000 distinct tokens), the second five times as long as
the first, and prepares each as `criteo_kaggle` in one process with shards of
16 MB. The value is the peak memory for the long log over that for the short
one. Bar: 1.15, as memory must not grow with the rows.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import run_program

ROWS = flags.DEFINE_integer("rows", 400_000, "Rows of the short log.")
TIMES = 5
BAR = 1.15


def write_log(path: str, rows: int):
    """Writes a log in Criteo's format."""
    import numpy as np

    random = np.random.default_rng(0)
    tokens = np.array(
        [f"{number * 2654435761 % 2**32:08x}" for number in range(200_000)]
    )
    with open(path, "w", encoding="ascii") as file:
        for start in range(0, rows, 50_000):
            count = min(50_000, rows - start)
            integers = random.geometric(0.05, (count, 13)).astype(str)
            integers[random.random((count, 13)) < 0.2] = ""
            ranks = np.exp(random.random((count, 26)) * np.log(len(tokens)))
            words = tokens[ranks.astype(int) % len(tokens)]
            words[random.random((count, 26)) < 0.1] = ""
            labels = (random.random((count, 1)) < 0.25).astype(int).astype(str)
            for row in np.concatenate([labels, integers, words], axis=1):
                file.write("\t".join(row) + "\n")


def prepare(folder: str, output: str) -> tuple[float, int]:
    """Returns the seconds, and the peak memory of the process in bytes."""
    script = (
        "import sys; from trainer import prepare; from absl import flags; "
        "values = flags.FlagValues(); prepare.define(values); "
        "code = prepare.run(values(sys.argv), values); "
        # Not getrusage's, which starts at the parent's peak.
        "lines = open('/proc/self/status').read().splitlines(); "
        "print(*[line.split()[1] for line in lines if 'VmHWM' in line]); "
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script, "--dataset=criteo_kaggle"]
    command += [f"--input={folder}", f"--output={output}"]
    command += ["--workers=1", "--shard_mb=16"]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - began, 1024 * int(done.stdout.split()[-1])


def main(argv):
    """Measures and prints the result."""
    del argv
    logs = []
    with tempfile.TemporaryDirectory() as folder:
        for times in (1, TIMES):
            source = os.path.join(folder, f"in-{times}")
            os.mkdir(source)
            path = os.path.join(source, "train.txt")
            write_log(path, times * ROWS.value)
            seconds, peak = prepare(
                source, os.path.join(folder, f"out-{times}")
            )
            logs.append(
                {
                    "rows": times * ROWS.value,
                    "bytes": os.path.getsize(path),
                    "rows_per_s": times * ROWS.value / seconds,
                    "peak_bytes": peak,
                }
            )
    value = logs[1]["peak_bytes"] / logs[0]["peak_bytes"]
    result = {
        "name": "prepare_memory",
        "value": value,
        "unit": "peak memory at five times the rows over that at one",
        "bar": BAR,
        "holds": value <= BAR,
        "logs": logs,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
