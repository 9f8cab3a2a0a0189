"""What two mirrored replicas do inside a step, in a process of its own.

python -m tests.distributed.two_replicas OUT writes OUT.npz and OUT.json.
"""

import json
import os
import sys

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf

from tests.worlds import small_models
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.distribution.strategies import ONE, Distribution
from trainer.distribution.workers import Workers
from trainer.loop.optimizers import vary_dropout
from trainer.loop.stable_ranks import StableRanks
from trainer.loop.steps import make_eval_step, make_train_step
from wukong_tf.models import build_model
from wukong_tf.optimizers import (
    ClippedAdam,
    OptimizerGroups,
    RowwiseAdagrad,
    replica_sum,
)
from wukong_tf.optimizers.groups import TABLES

ROWS, WIDTH = 11, 3
# Rows of each replica, repeated and shared ones and none.
IDS: tuple = (
    ([1, 4, 4, 9, 1], [4, 7, 7]),
    ([2, 2], []),
    ([0, 0, 0], [0]),
    ([], []),
)


def values_of(number):
    """Gradients of the rows of both replicas."""
    random = np.random.default_rng(number)
    return [
        random.normal(size=(len(ids), WIDTH)).astype(np.float32)
        for ids in IDS[number]
    ]


def sums(strategy, number, way, dtype):
    """The rows that replicas end with, and their sums, of each replica."""
    with strategy.scope():
        table = tf.Variable(np.zeros((ROWS, WIDTH), dtype))
    ids, values = IDS[number], values_of(number)

    def step(context_ids, context_values):
        gradient = tf.IndexedSlices(context_values, context_ids)
        (total,) = replica_sum.sum_over_replicas([gradient], [table], [way])
        return replica_sum.summed_rows(total)

    def distributed(arrays, kind):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(
                np.asarray(arrays[context.replica_id_in_sync_group]), kind
            )
        )

    arguments = distributed(ids, tf.int32), distributed(values, dtype)
    rows, found = tf.function(lambda *a: strategy.run(step, args=a))(*arguments)
    local = strategy.experimental_local_results
    dense = []
    for each, total in zip(local(rows), local(found), strict=True):
        whole = np.full((ROWS, WIDTH), np.nan)
        whole[each.numpy()] = total.numpy()
        dense.append(whole)
    return np.stack(dense)


def batch_of(replica):
    """A batch of one replica."""
    found = {
        name: tf.constant(value)
        for name, value in small_models.inputs(4, seed=replica).items()
    }
    for task in small_models.SPEC.tasks:
        found[task.label] = tf.constant([0.0, 1.0, 0.0, 1.0])
    found[GLOBAL_ROWS] = tf.constant(8.0)
    return found


def whole_reads(strategy, lookup) -> list[str]:
    """Operations of both steps that read all of a table or its state."""
    with strategy.scope():
        model = build_model(small_models.CONFIG, lookup=lookup)
        groups = OptimizerGroups(
            model.trainable_variables,
            {
                "tables": (RowwiseAdagrad(0.1, l2=0.1), TABLES),
                "dense": (ClippedAdam(1e-3), None),
            },
        )
        groups.build()
    optimizer = groups.optimizers["tables"]
    handles = [
        copy.handle
        for layer in model.tables
        for variable in (layer.table, optimizer.accumulator(layer.table))
        for copy in variable.value.values
    ]
    batch = strategy.experimental_distribute_values_from_function(
        lambda context: batch_of(context.replica_id_in_sync_group)
    )
    rates = {task.name: 1.0 for task in small_models.SPEC.tasks}
    found = []
    for step in (make_train_step(model, groups), make_eval_step(model, rates)):
        run = tf.function(lambda b, step=step: strategy.run(step, args=(b,)))
        graph = run.get_concrete_function(batch).graph
        inside = [
            inner
            for outer, inner in graph.captures
            if any(outer is handle for handle in handles)
        ]
        for operation in graph.get_operations():
            if any(t is i for t in operation.inputs for i in inside):
                found.append(operation.type)
    return sorted(set(found))


def masks(strategy):
    """What dropout leaves of ones, on each replica, twice."""
    import keras

    with strategy.scope():
        layer = keras.layers.Dropout(0.5, seed=3)
        model = keras.Sequential([keras.Input((64,)), layer])
        vary_dropout(model)
    ones = tf.ones([2, 64])
    run = tf.function(lambda: strategy.run(lambda: layer(ones, training=True)))
    return np.stack(
        [
            [
                each.numpy()
                for each in strategy.experimental_local_results(run())
            ]
            for _ in range(2)
        ]
    )


def ranks(strategy):
    """Stable ranks over both replicas, and of one device on all rows."""
    whole = small_models.inputs(8)
    batch = {
        name: strategy.experimental_distribute_values_from_function(
            lambda context, rows=rows: tf.constant(
                np.split(rows, 2)[context.replica_id_in_sync_group]
            )
        )
        for name, rows in whole.items()
    }
    with strategy.scope():
        model = build_model(small_models.CONFIG)
    one = tf.distribute.get_strategy()
    found = []
    for where, rows in ((strategy, batch), (one, whole)):
        measured = StableRanks(
            Distribution(where, Workers(where), ONE, ""), model
        )
        measured(rows)
        found.append(list(measured.take().values()))
    return np.array(found)


def main():
    """Writes what two replicas do."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    arrays = {
        f"{number}/{way}/{dtype}": sums(strategy, number, way, dtype)
        for number in range(len(IDS))
        for way in replica_sum.WAYS
        for dtype in ("float32", "float64")
    }
    arrays["masks"] = masks(strategy)
    arrays["ranks"] = ranks(strategy)
    np.savez(f"{sys.argv[1]}.npz", **arrays)
    with open(f"{sys.argv[1]}.json", "w") as file:
        json.dump(
            {name: whole_reads(strategy, name) for name in ("take", "tfrs")},
            file,
        )


if __name__ == "__main__":
    main()
