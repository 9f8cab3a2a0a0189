"""Measures steps as tables grow: `python -m benchmarks.table_rows`.

The trainer's default Wukong and optimizers, with 26 features of width 64 whose
tables have 100,000, a million and 20,000,000 rows together, in batches of
1,024 rows. Ids follow a Zipf law (the probability of the r-th most frequent is
proportional to 1 / r) and are spread over the table, as in a click log.

Times: two models in one process take steps alternately; the value is the median
over pairs of the step time at the most rows over that at the fewest. Bar: 1.15.
Memory: for each size, a separate process builds the model with the trainer's
functions, trains, evaluates and saves a checkpoint. Its peak memory above the
bytes of table and optimizer state must be at most 0.3 of these bytes plus a
constant, that of the smallest size. `holds` requires both.
"""

import json
import os
import resource
import statistics
import tempfile
import time

from absl import flags

from benchmarks import processes, run_program

ROWS = flags.DEFINE_list(
    "rows", ["100000", "1000000", "20000000"], "Rows of all tables, by size."
)
PAIRS = flags.DEFINE_integer("pairs", 60, "Pairs of steps.", lower_bound=10)
STEPS = flags.DEFINE_integer("steps", 20, "Steps when memory is measured.")
UNIFORM = flags.DEFINE_bool("uniform", False, "Draw ids uniformly.")
MEMORY_OF = flags.DEFINE_integer(
    "memory_of",
    0,
    "Rows whose memory this process measures; 0 for the benchmark.",
)

TIME_BAR, MEMORY_BAR = 1.15, 1.3
FEATURES, WIDTH, BATCH = 26, 64, 1024


def make_spec(rows: int):
    """Returns features whose tables have about `rows` rows together."""
    from wukong_tf.config import CategoricalFeature, FeatureSpec

    return FeatureSpec(
        tuple(
            CategoricalFeature(f"feature_{index}", rows // FEATURES)
            for index in range(FEATURES)
        )
    )


class Log:
    """A source of rows: Zipf-distributed ids, and labels."""

    def __init__(self, spec, steps: int):
        self.spec = spec
        self.num_rows = steps * BATCH
        self.lanes = 1

    def sample(self, rows):
        """Raises NotImplementedError: not needed here."""
        raise NotImplementedError

    def batches(self, batch_size, *, epoch=0, first_step=0, part=(0, 1)):
        """Yields the whole batches of an epoch from `first_step` on."""
        del part
        for step in range(first_step, self.num_rows // batch_size):
            yield make_batch(self.spec, [epoch, step], batch_size)


def make_batch(spec, seed, rows: int):
    """Returns the ids and labels of one batch."""
    import numpy as np

    random = np.random.default_rng(seed)
    columns = {"label": random.integers(0, 2, rows).astype(np.float32)}
    for feature in spec.categorical:
        if UNIFORM.value:
            ids = random.integers(0, feature.num_ids, rows)
        else:
            # P(rank <= r) is log(r) / log(N); ranks are spread over the ids.
            rank = np.exp(random.random(rows) * np.log(feature.num_ids))
            ids = (rank.astype(np.int64) * 2_654_435_761) % feature.num_ids
        columns[feature.name] = ids.astype(np.int32)
    return columns


def training_of(spec):
    """Returns the trainer's default settings, model and optimizers."""
    from trainer.loop.optimizers import make_optimizers
    from trainer.settings import Model, Training
    from wukong_tf.models import build_model

    training = Training()
    config = Model(embedding_dim=WIDTH).config(spec)
    model = build_model(config, lookup=training.lookup)
    groups = make_optimizers(model, training)
    groups.build()
    return training, model, groups


def times_of(sizes):
    """Returns median times at the first and last size, and of the ratio."""
    import tensorflow as tf

    from trainer.data.pipeline import GLOBAL_ROWS
    from trainer.loop.steps import make_train_step

    steps = []
    for rows in sizes:
        spec = make_spec(rows)
        _, model, groups = training_of(spec)
        function = tf.function(make_train_step(model, groups))
        batches = [
            {name: tf.constant(value) for name, value in columns.items()}
            | {GLOBAL_ROWS: tf.constant(float(BATCH))}
            for columns in (make_batch(spec, s, BATCH) for s in range(64))
        ]
        steps.append((function, batches))

    def seconds(which, number):
        function, batches = steps[which]
        batch = batches[number % len(batches)]
        began = time.perf_counter()
        function(batch).numpy()
        return time.perf_counter() - began

    for which in (0, 1):
        for number in range(10):
            seconds(which, number)
    pairs = []
    for number in range(PAIRS.value):
        order = (0, 1) if number % 2 else (1, 0)
        times = {which: seconds(which, number) for which in order}
        pairs.append((times[0], times[1]))
    few, many = zip(*pairs, strict=True)
    ratios = sorted(b / a for a, b in pairs)
    return statistics.median(few), statistics.median(many), ratios


def use_memory(rows: int):
    """Trains, evaluates and saves; prints the peak and the tables' bytes."""
    import keras
    import tensorflow as tf

    from trainer.checkpoints import store
    from trainer.data.pipeline import Pipeline
    from trainer.distribution.strategies import one_device
    from trainer.loop.evaluator import Evaluator
    from trainer.loop.outer import make_run_steps
    from trainer.loop.steps import make_train_step
    from wukong_tf.runs.arrays import model_slots, optimizer_slots, read_slots

    keras.utils.set_random_seed(0)
    distribution = one_device()
    spec = make_spec(rows)
    _, model, groups = training_of(spec)
    log = Log(spec, STEPS.value)
    run_steps = make_run_steps(
        distribution.strategy, make_train_step(model, groups)
    )
    run_steps(iter(Pipeline(log, BATCH).dataset()), tf.constant(STEPS.value))
    Evaluator(distribution, model, BATCH).evaluate(log)
    slots = model_slots(model) + optimizer_slots(model, groups)
    with tempfile.TemporaryDirectory() as folder:
        store.save(folder, STEPS.value, {}, read_slots(slots))
    table = 4 * (WIDTH + 1) * sum(f.num_ids for f in spec.categorical)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"table_and_state": table, "peak": peak}))


def memory_of(rows: int) -> dict[str, int]:
    """Returns the results of `use_memory`, run in a separate process."""
    return json.loads(
        processes.run(
            "benchmarks.table_rows",
            f"--memory_of={rows}",
            f"--steps={STEPS.value}",
        )
    )


def main(argv):
    """Measures and prints the result."""
    del argv
    if MEMORY_OF.value:
        use_memory(MEMORY_OF.value)
        return
    sizes = sorted(int(rows) for rows in ROWS.value)
    memory = {rows: memory_of(rows) for rows in sizes}
    few, many, ratios = times_of([sizes[0], sizes[-1]])
    low, middle, high = statistics.quantiles(ratios, n=4)
    constant = memory[sizes[0]]["peak"]
    shares = {
        rows: (used["peak"] - constant) / used["table_and_state"]
        for rows, used in memory.items()
    }
    fits = all(share <= MEMORY_BAR for share in shares.values())
    result = {
        "name": "table_rows",
        "value": middle,
        "unit": "step time at the most rows over that at the fewest",
        "bar": TIME_BAR,
        "holds": middle <= TIME_BAR and fits,
        "quartiles": [low, high],
        "rows": sizes,
        "step_ms": [1e3 * few, 1e3 * many],
        "memory_bar": MEMORY_BAR,
        "memory_constant_bytes": constant,
        "memory_of_table_and_state": {
            str(rows): round(share, 3) for rows, share in shares.items()
        },
        "peak_bytes": {str(r): used["peak"] for r, used in memory.items()},
        "ids": "uniform" if UNIFORM.value else "zipf",
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    run_program(main)
