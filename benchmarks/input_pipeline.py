"""Measures the rate of reading rows, without and with training.

`python -m benchmarks.input_pipeline` writes a log in the shape of Criteo's (13
numbers, and 26 ids with 1.5 million values in all) as Parquet and TFRecord to a
temporary directory, and reads both alternately through the trainer's pipeline
in batches of 8,192 rows, with a shuffle buffer of 262,144: the value is the
median rate of Parquet over rounds. Bar: 500,000 rows/s. Then it trains the
model of benchmarks.mid_size on a log with 39 ids, in batches of 2,048 rows, and
measures the share of the time that the steps wait for input. Bar: 0.02.
`holds` requires both.
"""

import json
import os
import statistics
import sys
import tempfile
import time

from absl import flags

from benchmarks import run_program

ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of the log.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.", lower_bound=3)
STEPS = flags.DEFINE_integer("steps", 60, "Training steps.")

RATE_BAR, WAIT_BAR = 500_000, 0.02
NUMBERS, IDS, BATCH = 13, 26, 8192
GROUP_ROWS, SHUFFLE_ROWS = 65_536, 262_144
ROWS_OF_TABLES = 1_000_000 // 39
WARM_UP = 10


def make_table(rows: int, ids: int, numbers: int, vocabulary: int):
    """Returns a log: numbers distributed like counts, Zipf-distributed ids."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(0)
    columns = {"label": random.integers(0, 2, rows).astype(np.int8)}
    for index in range(numbers):
        columns[f"I{index}"] = random.exponential(9.0, rows).astype(np.float32)
    for index in range(ids):
        rank = np.exp(random.random(rows) * np.log(vocabulary))
        columns[f"C{index}"] = rank.astype(np.int32) % vocabulary
    return pa.table(columns)


def make_spec(ids: int, numbers: int, vocabulary: int):
    """Returns the features of that log."""
    from wukong_tf.config import (
        CategoricalFeature,
        FeatureSpec,
        NumericFeature,
    )

    return FeatureSpec(
        tuple(CategoricalFeature(f"C{i}", vocabulary) for i in range(ids)),
        tuple(NumericFeature(f"I{i}", "log1p") for i in range(numbers)),
    )


def write_records(path: str, table):
    """Writes the table as tf.Example records."""
    import tensorflow as tf

    lists = {
        name: (column.to_numpy(), column.type)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    with tf.io.TFRecordWriter(path) as writer:
        for row in range(table.num_rows):
            example = tf.train.Example()
            for name, (values, kind) in lists.items():
                feature = example.features.feature[name]
                if str(kind).startswith("float"):
                    feature.float_list.value.append(values[row])
                else:
                    feature.int64_list.value.append(int(values[row]))
            writer.write(example.SerializeToString())


def read_rate(source) -> float:
    """Returns rows/s of one epoch through the pipeline."""
    from trainer.data.pipeline import GLOBAL_ROWS, Pipeline

    began, rows = time.perf_counter(), 0
    for batch in Pipeline(source, BATCH).dataset():
        rows += int(batch[GLOBAL_ROWS])
    return rows / (time.perf_counter() - began)


def training_wait(folder: str) -> dict[str, float]:
    """Returns the share of training that waits for input, and its rate."""
    import pyarrow.parquet as pq

    from benchmarks import mid_size
    from trainer.data.parquet import ParquetSource
    from trainer.data.pipeline import Pipeline
    from trainer.distribution.strategies import one_device
    from trainer.loop.outer import Progress, Schedule, make_run_steps, train
    from trainer.loop.step_clock import StepClock

    steps = WARM_UP + STEPS.value
    path = os.path.join(folder, "ids.parquet")
    table = make_table(
        steps * mid_size.BATCH, mid_size.FEATURES, 0, ROWS_OF_TABLES
    )
    table = table.rename_columns(["label", *mid_size.NAMES])
    pq.write_table(table, path, row_group_size=GROUP_ROWS)
    sizes, train_step = mid_size.train_step(ROWS_OF_TABLES * mid_size.FEATURES)
    source = ParquetSource([path], sizes.features, shuffle_rows=SHUFFLE_ROWS)
    distribution, clock, chunks = one_device(), StepClock(), []
    train(
        distribution=distribution,
        run_steps=make_run_steps(
            distribution.strategy, train_step, clock=clock
        ),
        clock=clock,
        pipeline=Pipeline(source, mid_size.BATCH),
        progress=Progress(),
        # Skips the first chunk, which traces and waits for first rows.
        schedule=Schedule(steps, steps, steps, also=(WARM_UP,)),
        actions=[lambda _, chunk: chunks.append(chunk)],
        should_stop=lambda: False,
    )
    _, measured = chunks
    return {
        "input_wait": measured.input_wait,
        "examples_per_s": measured.rows / measured.seconds,
    }


def main(argv):
    """Measures and prints the result."""
    del argv
    import pyarrow.parquet as pq

    from trainer.data.parquet import ParquetSource
    from trainer.data.tfrecord import TFRecordSource

    vocabulary = 1_500_000 // IDS
    spec = make_spec(IDS, NUMBERS, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        table = make_table(ROWS.value, IDS, NUMBERS, vocabulary)
        paths = {
            "parquet": os.path.join(folder, "log.parquet"),
            "tfrecord": os.path.join(folder, "log.tfrecord"),
        }
        pq.write_table(table, paths["parquet"], row_group_size=GROUP_ROWS)
        write_records(paths["tfrecord"], table.slice(0, ROWS.value // 5))
        del table
        kinds = {"parquet": ParquetSource, "tfrecord": TFRecordSource}
        sources = {
            name: kind([paths[name]], spec, shuffle_rows=SHUFFLE_ROWS)
            for name, kind in kinds.items()
        }
        rates: dict[str, list[float]] = {name: [] for name in sources}
        for number in range(ROUNDS.value):
            for name, source in sources.items():
                rates[name].append(read_rate(source))
            print(f"round {number + 1}: {rates}", file=sys.stderr)
        wait = training_wait(folder)
    medians = {name: statistics.median(r) for name, r in rates.items()}
    result = {
        "name": "input_pipeline",
        "value": medians["parquet"],
        "unit": "rows/s of Parquet, 39 columns",
        "bar": RATE_BAR,
        "holds": medians["parquet"] >= RATE_BAR
        and wait["input_wait"] < WAIT_BAR,
        "rows_per_s": medians,
        "wait_bar": WAIT_BAR,
        "in_training": wait,
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
