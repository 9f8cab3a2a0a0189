"""A worker that trains models with sharded tables or dense optimizer state.

python -m tests.sharding.worker OUT [CASE...] writes OUT-INDEX.npz: the losses
of each step, the logits of a last batch, and the arrays that the model ends
with, in which the rows of other workers are zeros. Without TF_CONFIG it trains
them with replicated tables on one device.
"""

import dataclasses
import json
import os
import sys

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import keras
import numpy as np
import tensorflow as tf

from tests.worlds import small_models
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.distribution.workers import Workers
from trainer.loop.steps import make_score_step, make_train_step
from wukong_tf.config import FeatureSpec
from wukong_tf.embeddings import fused_tables
from wukong_tf.models import build_model
from wukong_tf.optimizers import (
    OptimizerGroups,
    RowwiseAdagrad,
    dense_optimizer,
)
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.runs.arrays import assign_slots, read_arrays, training_slots
from wukong_tf.sharding import weights

BATCH, STEPS = 24, 9
# Large enough that ids repeat or are missing, by worker.
LARGE = dataclasses.replace(
    small_models.SPEC,
    categorical=tuple(
        dataclasses.replace(feature, num_ids=50 * feature.num_ids + 3)
        for feature in small_models.SPEC.categorical
    ),
)
# Parts of a batch draw units to drop, and differ by worker.
RICH = dataclasses.replace(
    small_models.RICH,
    categorical=tuple(
        dataclasses.replace(feature, unit_dropout=0.0)
        for feature in small_models.RICH.categorical
    ),
)
# Specification, sharded tables and options of each case.
CASES: dict[str, tuple[FeatureSpec, tuple[str, ...], dict]] = {
    "some": (LARGE, ("item", "city"), {"l2": 0.1}),
    "rich": (RICH, ("user", "item", "tags"), {"parts": 2}),
    "rates": (LARGE, ("user", "item", "shop"), {"rates": True}),
    "decay": (LARGE, ("user",), {"l2": 0.1, "l2_scope": "all"}),
    "float32": (LARGE, ("user", "item", "city", "shop"), {}),
    "bfloat16": (LARGE, ("user", "item", "city", "shop"), {}),
    # Optimizer state of the dense part.
    "adam": (LARGE, (), {"state": "adam", "weight_decay": 0.1, "parts": 2}),
    "averaged": (LARGE, ("item",), {"state": "adam", "average": 0.9}),
    "lion": (LARGE, (), {"state": "lion", "weight_decay": 0.1}),
    "muon float32": (LARGE, (), {"state": "muon", "weight_decay": 0.1}),
    "schedule_free": (LARGE, (), {"state": "schedule_free"}),
}


def batches(spec, case):
    """Yields (rows of each batch, those of the global batch)."""
    random = np.random.default_rng(len(case))
    for step in range(STEPS + 1):
        batch = small_models.inputs(BATCH, 100 * len(case) + step, spec)
        for feature in spec.categorical:
            ids = batch[feature.name]
            if step % 3 == 1:  # mostly a few ids
                skewed = ids // (1 + random.integers(0, 20, ids.shape))
                batch[feature.name] = skewed.astype(np.int32)
        for task in spec.tasks:
            batch[task.label] = small_models.labels(BATCH, step)
        yield batch


def share_of(batch, step, count, index):
    """Returns a worker's part of a batch; in some steps one has no rows."""
    random = np.random.default_rng(step)
    cuts = np.sort(random.integers(0, BATCH + 1, count - 1))
    if step == 2:
        cuts[:] = BATCH
    ends = [0, *cuts.tolist(), BATCH]
    rows = slice(ends[index], ends[index + 1])
    found = {name: tf.constant(value[rows]) for name, value in batch.items()}
    found[GLOBAL_ROWS] = tf.constant(float(BATCH), tf.float64)
    return found


def optimizers_of(
    model,
    *,
    l2=0.0,
    l2_scope="touched",
    rates=False,
    state="",
    weight_decay=0.0,
    average=0.0,
):
    runs = {}
    if rates:
        for layer in model.tables:
            table = layer.table
            sizes = [t.rows for t in layer.plan.tables]
            if shards := getattr(table, "shards", None):
                sizes = shards.runs(sizes)
            names = [ord(t.name[0]) % 4 for t in layer.plan.tables]
            runs[table.path] = [
                [size, 1.0 + number, 0.1 * number]
                for number, size in zip(names, sizes, strict=True)
                if size
            ]
    adagrad = RowwiseAdagrad(0.1, l2=l2, l2_scope=l2_scope, row_runs=runs)
    return OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (adagrad, TABLES),
            "dense": (
                dense_optimizer(
                    state or "adam",
                    1e-3,
                    weight_decay=weight_decay,
                    global_clipnorm=0.5,
                ),
                None,
            ),
        },
        average=(["dense"], average) if average else None,
        sharded_state=("dense",) if state else (),
    )


def train(strategy, case, index):
    """Trains one case; returns its arrays, losses and logits by name."""
    spec, sharded, options = CASES[case]
    options = dict(options)
    parts = options.pop("parts", 1)
    dtype = "float32" if "float" in case else "float64"
    count = strategy.num_replicas_in_sync
    if case == "rates":  # as if the tables had too many rows for int32
        fused_tables.MAX_FUSED_ROWS = 0
    weights.BATCH_BYTES = 300  # several rounds, some within a weight
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = build_model(
            small_models.wukong(spec),
            dtype=dtype,
            sharded_tables=sharded if count > 1 else (),
        )
        for layer in model.tables:
            if case == "bfloat16":
                layer.exchange_dtype = case
        groups = optimizers_of(model, **options)
        groups.build()
    slots = training_slots(model, groups)
    initial = read_arrays(slots)
    for slot in slots:  # the same values for each way of training
        if slot.name.startswith(("tables/", "dense/")):
            random = np.random.default_rng([*slot.name.encode()])
            if "seed" not in slot.name:
                initial[slot.name] = 0.5 * random.normal(size=slot.shape)
    assign_slots(slots, initial)
    step_function = make_train_step(model, groups, parts=parts)
    score_function = make_score_step(model)

    first = share_of(next(batches(spec, case)), 0, count, index)
    signature = [
        {
            name: tf.TensorSpec([None] * value.shape.rank, value.dtype)
            if value.shape.rank < 2
            else tf.TensorSpec([None, value.shape[1]], value.dtype)
            for name, value in first.items()
        }
    ]

    @tf.function(input_signature=signature, autograph=False)
    def step(batch):
        parts = strategy.run(step_function, args=(batch,))
        return strategy.reduce("SUM", parts, axis=None)

    @tf.function(input_signature=signature, autograph=False)
    def score(batch):
        return strategy.run(score_function, args=(batch,))

    losses = []
    for number, batch in enumerate(batches(spec, case)):
        share = share_of(batch, number, count, index)
        if number < STEPS:
            losses.append(float(step(share)))
    found = {f"{case}:{name}": a for name, a in read_arrays(slots).items()}
    logits = score(share)
    for task, values in logits.items():
        found[f"{case}:logits/{task}"] = values.numpy()
    return {**found, f"{case}:losses": np.array(losses)}


def main():
    """Trains every case and writes what this worker has of it."""
    strategy, index = tf.distribute.get_strategy(), 0
    workers = Workers(strategy)
    if "TF_CONFIG" in os.environ:
        config = json.loads(os.environ["TF_CONFIG"])
        index = config["task"]["index"]
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        workers = Workers(strategy, index, tuple(config["cluster"]["worker"]))
    found: dict = {}
    for case in sys.argv[2:] or CASES:
        found |= train(strategy, case, index)
        np.savez(f"{sys.argv[1]}-{index}.npz", **found)
        print(f"trained {case}", flush=True)
    if workers.count > 1:
        workers.gather(None)  # nobody is waited for from here on
        os._exit(0)


if __name__ == "__main__":
    main()
