"""Measures sharded tables: `python -m benchmarks.sharded_tables`.

Runs the trainer on 39 features of one width and a Wukong of one small layer, so
that tables dominate, with 1,024 rows per worker and step and one thread per
operation, for each number of workers and each of --placements. Ids follow a
Zipf law (the probability that a rank is at most r is log(r) / log(rows of its
table)).

Memory: the largest resident memory of a worker above that of the same run with
1,521 table rows, over the bytes of its rows and their state; at most 1.15.
Bytes: what a step sends over what it must send at least (each distinct id that
another worker owns, and its row and gradient in --sharded_exchange_dtype),
counted over the batches; at most 1.25. Rates: rows per second with sharded over
those with replicated tables, the median over --rounds; above 1 at 20 million
rows, at least 1 at one million. The value is the memory at the most workers.
"""

import itertools
import json
import operator
import os
import shutil
import statistics
import sys
import tempfile

from absl import flags

from benchmarks import processes, run_program

ROWS = flags.DEFINE_integer("rows", 20_000_000, "Rows of all tables.")
WORKERS = flags.DEFINE_list("workers", ["1", "2", "4"], "Numbers of workers.")
STEPS = flags.DEFINE_integer(
    "steps", 12, "Measured steps of a run, after two steps of warm-up."
)
WIDTH = flags.DEFINE_integer("width", 64, "Width of the tables.")
ROUNDS = flags.DEFINE_integer(
    "rounds", 1, "Runs of each number of workers and placement, in turns."
)
PLACEMENTS = flags.DEFINE_list(
    "placements", ["replicated", "sharded"], "Placements of the tables."
)
EXCHANGE_DTYPE = flags.DEFINE_enum(
    "sharded_exchange_dtype",
    "float32",
    ["float32", "bfloat16"],
    "Dtype in which rows and gradients of sharded tables are sent.",
)

MEMORY_BAR, BYTES_BAR = 1.15, 1.25
BATCH, RANK, WARM_UP = 1024, 8, 2


def make_rows(spec, seed, rows: int):
    """Returns some rows of the log."""
    import numpy as np

    from benchmarks import mid_size

    columns = mid_size.batch(spec, seed, rows)
    random = np.random.default_rng(seed)
    for feature in spec.categorical:
        draw = random.random(rows) * np.log(feature.num_ids)
        columns[feature.name] = np.exp(draw).astype(np.int32) - 1
    return columns


def write_log(folder: str, rows: int, batches: int) -> str:
    """Writes a log whose tables have `rows` rows; returns its folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from benchmarks import mid_size

    spec = mid_size.features(rows)
    os.mkdir(folder)
    with open(os.path.join(folder, "features.json"), "w") as file:
        file.write(spec.to_json())
    for split, count in (("train", batches), ("valid", 1)):
        parts = [
            pa.table(make_rows(spec, [len(split), n], BATCH))
            for n in range(count)
        ]
        pq.write_table(
            pa.concat_tables(parts), os.path.join(folder, f"{split}.parquet")
        )
    return folder


def run(data: str, run_dir: str, workers: int, placement: str):
    """Trains; returns rows per second and a worker's resident bytes."""
    rates, memory = processes.train(
        workers,
        run_dir,
        WARM_UP + STEPS.value,
        WARM_UP,
        f"--data_dir={data}",
        f"--table_placement={placement}",
        f"--sharded_exchange_dtype={EXCHANGE_DTYPE.value}",
        f"--batch_size={BATCH * workers}",
        f"--embedding_dim={WIDTH.value}",
        *("--num_layers=1", "--num_fmb=4", "--num_lcb=4", f"--rank={RANK}"),
        *("--mlp_units=64", "--head_units=64", "--shuffle_rows=0"),
    )
    shutil.rmtree(run_dir)  # a checkpoint of all rows
    return statistics.median(rates), max(memory)


def sent_over_least(rows: int, workers: int, batches: int = 4) -> float:
    """Returns the bytes of a step over the least, counted over batches."""
    import numpy as np

    from benchmarks import mid_size
    from wukong_tf.scaling.traffic import EXCHANGE_BYTES, ID_BYTES
    from wukong_tf.sharding import collectives
    from wukong_tf.sharding.layout import Shards

    spec = mid_size.features(rows)
    shards = Shards(rows, workers, 0)
    offsets = np.cumsum([0] + [f.num_ids for f in spec.categorical[:-1]])
    sent = least = 0
    for number in range(batches):
        counts = []
        for worker in range(workers):
            columns = make_rows(spec, [number, worker], BATCH)
            ids = np.concatenate(
                [
                    columns[feature.name].astype(np.int64) + offset
                    for feature, offset in zip(
                        spec.categorical, offsets, strict=True
                    )
                ]
            )
            owners, _ = shards.places(np.unique(ids))
            counts.append(np.bincount(owners, minlength=workers))
        table = np.array(counts)
        capacity = int(collectives.rounded_up(int(table.max()))[0])
        # An id, a row and a gradient.
        each = ID_BYTES + 2 * EXCHANGE_BYTES[EXCHANGE_DTYPE.value] * WIDTH.value
        pairs = workers * (workers - 1)
        sent += pairs * (capacity * each + 4 * workers)
        least += (table.sum() - np.trace(table)) * each
    return float(sent / least)


def main(argv):
    """Measures and prints the result."""
    del argv
    counts = [int(count) for count in WORKERS.value]
    rates: dict = {}
    memory: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        batches = max(counts) * (WARM_UP + STEPS.value)
        large = write_log(f"{folder}/large", ROWS.value, batches)
        small = write_log(f"{folder}/small", 39 * 39, batches)
        runs = itertools.product(range(ROUNDS.value), counts, PLACEMENTS.value)
        for number, count, placement in runs:
            name = f"{count}_{placement}"
            rate, used = run(large, f"{folder}/{name}", count, placement)
            rates.setdefault(name, []).append(round(rate, 1))
            if number == 0:
                _, base = run(small, f"{folder}/{name}_0", count, placement)
                parts = count if placement == "sharded" else 1
                table = 4 * (WIDTH.value + 1) * -(-ROWS.value // parts)
                memory[name] = round(max(0, used - base) / table, 3)
            print(f"{name}: {rate:.1f}, {memory[name]}", file=sys.stderr)
    several = [count for count in counts if count > 1]
    sent = {
        str(count): round(sent_over_least(ROWS.value, count), 3)
        for count in (*several, 256)
    }
    value = memory[f"{max(counts)}_{PLACEMENTS.value[-1]}"]
    fits = all(
        share <= MEMORY_BAR for n, share in memory.items() if "sharded" in n
    )
    within = all(sent[str(count)] <= BYTES_BAR for count in several)
    result = {
        "name": "sharded_tables",
        "value": value,
        "unit": "a worker's memory over its rows and state",
        "bar": MEMORY_BAR,
        "holds": fits and within,
        "rows": ROWS.value,
        "width": WIDTH.value,
        "sharded_exchange_dtype": EXCHANGE_DTYPE.value,
        "memory_of_table_and_state": memory,
        "bytes_bar": BYTES_BAR,
        "sent_over_least_ratios": sent,
        "examples_per_s": rates,
        "sharded_over_replicated_ratios": {
            str(count): round(
                statistics.median(
                    map(
                        operator.truediv,
                        rates[f"{count}_sharded"],
                        rates[f"{count}_replicated"],
                    )
                ),
                3,
            )
            for count in several
            if f"{count}_sharded" in rates and f"{count}_replicated" in rates
        },
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
