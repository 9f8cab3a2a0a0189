"""Compares two workers with one: `python -m benchmarks.scaling_workers`.

Runs the trainer's command on the model of benchmarks.mid_size and a Parquet
log, with 2,048 rows per worker and step, each worker pinned to one core and one
thread per operation. Each round runs one worker; then two workers of one run,
which all-reduce gradients in a ring over gRPC on loopback; then two independent
runs of one worker each at once. The value is the median over rounds of the
throughput of the second over that of the first. Bar: 1.6. The third over the
first is the limit of the machine.

Ids follow a Zipf law, as in logs: the probability that a rank is at most r is
log(r) / log(rows of its table). With --uniform, ids are uniformly distributed,
so few rows occur twice in a batch, which is the worst case for the all-reduce.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from absl import app, flags

from benchmarks import run_program

ROUNDS = flags.DEFINE_integer("rounds", 3, "Rounds.", lower_bound=1)
STEPS = flags.DEFINE_integer(
    "steps", 12, "Measured steps of a run, after two steps of warm-up."
)
ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of all tables.")
UNIFORM = flags.DEFINE_bool("uniform", False, "Draw ids uniformly.")

BAR = 1.6
BATCH = 2048
WARM_UP = 2
HELD_OUT = 2048


def write_log(folder: str, batches: int):
    """Writes a log of the mid-size model's features."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks import mid_size

    spec = mid_size.features(ROWS.value)
    with open(os.path.join(folder, "features.json"), "w") as file:
        file.write(spec.to_json())
    for split, count in (("train", batches), ("valid", 1)):
        path = os.path.join(folder, f"{split}.parquet")
        tables = [
            pa.table(make_rows(spec, [len(split), n])) for n in range(count)
        ]
        pq.write_table(pa.concat_tables(tables), path, row_group_size=8192)


def make_rows(spec, seed):
    """Returns some rows of the log."""
    import numpy as np

    from benchmarks import mid_size

    columns = mid_size.batch(spec, seed, HELD_OUT)
    if not UNIFORM.value:
        random = np.random.default_rng(seed)
        for feature in spec.categorical:
            draw = random.random(HELD_OUT) * np.log(feature.num_ids)
            columns[feature.name] = np.exp(draw).astype(np.int32) - 1
    return columns


def command(data: str, run_dir: str, workers: int) -> list[str]:
    """Returns the trainer's command for the model of benchmarks.mid_size."""
    from benchmarks import mid_size

    sizes = {
        name: ",".join(map(str, size)) if isinstance(size, tuple) else size
        for name, size in mid_size.SIZES.items()
    }
    options = {
        **sizes,
        "batch_size": BATCH * workers,
        "data_lanes": workers,
        "data_dir": data,
        "run_dir": run_dir,
        "max_steps": WARM_UP + STEPS.value,
        "steps_per_loop": WARM_UP,
        "shuffle_rows": 0,
        "eval_every_steps": WARM_UP + STEPS.value,
        "intra_op_threads": 1,
        "inter_op_threads": 1,
    }
    return [sys.executable, "-m", "trainer.main"] + [
        f"--{name}={value}" for name, value in options.items()
    ]


def start(core: int, arguments: list[str], environment=None):
    """Starts a process pinned to one core."""
    return subprocess.Popen(
        ["taskset", "-c", str(core), *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    """Waits for all processes; raises RuntimeError if one fails."""
    for process in processes:
        _, stderr = process.communicate()
        if process.returncode:
            raise RuntimeError(stderr)


def rate(run_dir: str) -> tuple[float, float | None]:
    """Returns rows/s without the first steps, and the all-reduce's share."""
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    windows = [
        record
        for record in records
        if record["kind"] == "train" and record["step"] > WARM_UP
    ]
    rates = [record["examples_per_s"] for record in windows]
    shares = [r["all_reduce"] for r in windows if "all_reduce" in r]
    share = statistics.median(shares) if shares else None
    return statistics.median(rates), share


def measure(data: str, folder: str, cores) -> dict[str, float]:
    """Runs one round; returns its figures."""
    from trainer.launch import free_ports

    def run_dir(name):
        return os.path.join(folder, name)

    finish([start(cores[0], command(data, run_dir("one"), 1))])
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    finish(
        [
            start(
                cores[index],
                command(data, run_dir("two"), 2),
                {
                    "TF_CONFIG": json.dumps(
                        {
                            "cluster": {"worker": addresses},
                            "task": {"type": "worker", "index": index},
                        }
                    )
                },
            )
            for index in range(2)
        ]
    )
    names = ("first", "second")
    finish(
        [
            start(core, command(data, run_dir(name), 1))
            for core, name in zip(cores, names, strict=True)
        ]
    )
    one, _ = rate(run_dir("one"))
    two, share = rate(run_dir("two"))
    independent = sum(rate(run_dir(name))[0] for name in names)
    return {
        "one": one,
        "two": two,
        "independent": independent,
        "all_reduce": share or 0.0,
    }


def main(argv):
    """Runs the rounds and prints the result."""
    del argv
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise app.UsageError(f"two cores are required; there are {len(cores)}.")
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        os.mkdir(data)
        write_log(data, 2 * (WARM_UP + STEPS.value))
        for number in range(ROUNDS.value):
            place = os.path.join(folder, str(number))
            rounds.append(measure(data, place, cores))
            print(f"round {number}: {rounds[-1]}", file=sys.stderr)

    def ratio(name):
        return statistics.median(r[name] / r["one"] for r in rounds)

    value = ratio("two")
    print(
        json.dumps(
            {
                "name": "scaling_workers",
                "ids": "uniform" if UNIFORM.value else "zipf",
                "value": round(value, 3),
                "bar": BAR,
                "holds": value >= BAR,
                "two_runs_over_one": round(ratio("independent"), 3),
                "two_workers_over_two_runs": round(
                    statistics.median(
                        r["two"] / r["independent"] for r in rounds
                    ),
                    3,
                ),
                "all_reduce_share": round(
                    statistics.median(r["all_reduce"] for r in rounds), 3
                ),
                "examples_per_s": {
                    name: round(statistics.median(r[name] for r in rounds))
                    for name in ("one", "two", "independent")
                },
                "rounds": rounds,
            }
        )
    )


if __name__ == "__main__":
    run_program(main)
