"""Optimizer steps on one device and on two mirrored ones, in a process.

TensorFlow must be told of the second device before anything else runs.
python -m tests.optimizers.two_replicas OUT writes the results to OUT.npz.
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from wukong_tf.optimizers import ClippedAdam, RowwiseAdagrad, TableAdam
from wukong_tf.optimizers.dense import DENSE_OPTIMIZERS, dense_optimizer

ROWS, WIDTH, STEPS, BATCH = 9, 3, 6, 8
CLIPNORM = 0.5
ADAGRAD = {"learning_rate": 0.1, "initial_accumulator_value": 0.2, "l2": 0.3}
# Rows of the first replica's share of each global batch: even and uneven
# ones, and shares without a row.
SPLITS = (4, 4, 5, 1, 8, 0)


def batches():
    """(ids [B, 2], table gradients [B, 2, d], dense gradients [B, 4])."""
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        yield (
            random.integers(0, ROWS - 2, (BATCH, 2)).astype(np.int32),
            random.normal(size=(BATCH, 2, WIDTH)).astype(np.float32),
            random.normal(size=(BATCH, 4)).astype(np.float32),
        )


def start():
    """The table and the dense variable before the first step."""
    random = np.random.default_rng(1)
    table = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
    return table, random.normal(size=4).astype(np.float32)


def _train(strategy, splits):
    with strategy.scope():
        table, dense = (keras.Variable(value) for value in start())
        adam_table = keras.Variable(start()[0])
        table_adam = TableAdam(0.05, l2=0.3)
        table_adam.build([adam_table])
        rowwise = RowwiseAdagrad(**ADAGRAD)
        rowwise.build([table])
        adam = ClippedAdam(0.05, global_clipnorm=CLIPNORM)
        adam.build([dense])
        others = {}
        for name in DENSE_OPTIMIZERS:
            matrix = keras.Variable(start()[1].reshape(2, 2), name="kernel")
            decay = 0.0 if name == "schedule_free" else 0.3
            optimizer = dense_optimizer(
                name, 0.05, weight_decay=decay, global_clipnorm=CLIPNORM
            )
            optimizer.build([matrix])
            others[name] = (optimizer, matrix)
        matrices = [matrix for _, matrix in others.values()]

    def step(ids, table_gradients, dense_gradients):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(dense_gradients @ dense.value[:, None])
            for index in range(2):  # two lookups of each table
                for each in (table, adam_table):
                    rows = tf.gather(each.value, ids[:, index])
                    loss += tf.reduce_sum(rows * table_gradients[:, index])
            for matrix in matrices:
                column = tf.reshape(matrix.value, [-1, 1])
                loss += tf.reduce_sum(dense_gradients @ column)
        by_table, by_adam_table, by_dense, *by_matrix = tape.gradient(
            loss,
            [each.value for each in (table, adam_table, dense, *matrices)],
        )
        rowwise.apply([by_table], [table])
        table_adam.apply([by_adam_table], [adam_table])
        adam.apply([by_dense], [dense])
        for (optimizer, matrix), gradient in zip(
            others.values(), by_matrix, strict=True
        ):
            optimizer.apply([gradient], [matrix])

    @tf.function(reduce_retracing=True)
    def run(*parts):
        strategy.run(step, args=parts)

    replicas = strategy.num_replicas_in_sync
    for batch, first in zip(batches(), splits, strict=True):
        parts = [
            strategy.experimental_distribute_values_from_function(
                lambda context, array=array, first=first: tf.constant(
                    [array[:first], array[first:]][
                        context.replica_id_in_sync_group
                    ]
                    if replicas == 2
                    else array
                )
            )
            for array in batch
        ]
        run(*parts)
    return {
        name: [part.numpy() for part in strategy.experimental_local_results(v)]
        for name, v in {
            "table": table.value,
            "state": rowwise.accumulator(table.value).value,
            "adam_table": adam_table.value,
            "adam_velocity": table_adam.row_slots(adam_table.value)[
                "velocity"
            ].value,
            "dense": dense.value,
            **{name: matrix.value for name, (_, matrix) in others.items()},
        }.items()
    }


def main():
    """Trains on one device and on two, and writes both results."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    one = _train(tf.distribute.get_strategy(), SPLITS)
    two = _train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), SPLITS)
    results = {f"one/{name}": value[0] for name, value in one.items()}
    for name, value in two.items():
        results[f"first/{name}"], results[f"second/{name}"] = value
    np.savez(sys.argv[1], **results)


if __name__ == "__main__":
    main()
