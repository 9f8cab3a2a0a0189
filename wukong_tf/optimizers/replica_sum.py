"""Sums gradients over the replicas of a tf.distribute strategy.

A table's gradient is sparse. Repeated ids are summed on each replica first, and
then the replicas are summed in one of two ways:

- "gather": an all-gather of the rows, and their numbers, of all replicas;
- "reduce": an all-reduce of the dense gradient of the whole table, which sends
  less if the batches of all replicas have more rows than the table.

Both give the same sums and the same touched rows.
"""

import math
from collections.abc import Sequence

GATHER, REDUCE = "gather", "reduce"
WAYS = (GATHER, REDUCE)
# Collective keys: TensorFlow counts its own up from 100, one or more for each
# call of a function.
_FIRST_KEY = 2**30
_KEYS = 2**11
# Index of each kind of gathered tensor; every worker's program gathers them in
# the same order.
_kinds: dict[tuple, int] = {}


def cheaper_way(rows: int, rows_of_a_replica: int, replicas: int) -> str:
    """Returns the way that sends less for one table.

    In a ring, an all-gather sends (N - 1) U rows from each replica and an
    all-reduce 2 (N - 1) / N times the table's rows; U is the number of distinct
    rows in a replica's batch.

    Args:
        rows: rows of the table.
        rows_of_a_replica: most distinct rows in a replica's batch.
        replicas: N.
    """
    gathered = replicas * min(rows_of_a_replica, rows)
    return REDUCE if 2 * rows < gathered else GATHER


def sum_over_replicas(
    gradients: Sequence, variables: Sequence, ways: Sequence[str | None]
) -> list:
    """Returns the gradients, each summed over all replicas.

    Must be called in a replica context of TensorFlow.

    Args:
        gradients: tf.Tensor or tf.IndexedSlices, or None if a variable has
            none.
        variables: their variables, for the shapes of tables.
        ways: "gather" or "reduce" for each sparse gradient.

    Returns:
        The sums, in the same order; a sparse one stays sparse.
    """
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(gradients)
    summed = list(gradients)
    dense = []
    for index, gradient in enumerate(gradients):
        if isinstance(gradient, tf.IndexedSlices):
            if ways[index] == REDUCE:
                rows, values = summed_rows(gradient)
                summed[index] = _reduce(
                    context, rows, values, variables[index].shape[0]
                )
            else:
                summed[index] = _gather(context, gradient, index)
        elif gradient is not None:
            dense.append(index)
    if dense:
        sums = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [gradients[index] for index in dense]
        )
        for index, total in zip(dense, sums, strict=True):
            summed[index] = total
    return summed


def summed_rows(gradient):
    """Returns the distinct rows [U] of tf.IndexedSlices and sums [U, ...]."""
    import tensorflow as tf

    rows, slot = tf.unique(gradient.indices)  # [U], [N]
    # Sums of repeated ids are stable bit for bit this way; a scatter with
    # repeated ids is not.
    sums = tf.math.unsorted_segment_sum(gradient.values, slot, tf.size(rows))
    return rows, sums  # [U], [U, ...]


def _gather(context, gradient, number):
    """Gathers the distinct rows of all replicas, in the order of replicas.

    With several workers, TensorFlow's `all_gather` fixes the number of a
    replica's rows for all steps of one call of a function.
    """
    import tensorflow as tf
    from tensorflow.python.ops import collective_ops

    # Not public; covered by the multi-process tests.
    launchers = getattr(
        context.strategy.extended._cross_device_ops, "_launchers", None
    )
    if launchers is None:  # the replicas of one process
        rows, values = summed_rows(gradient)
        rows, values = context.all_gather([rows, values], axis=0)
        return tf.IndexedSlices(values, rows)
    launcher = launchers[context._replica_id]

    def gather(tensor, key):
        return collective_ops.all_gather_v2(
            tensor,
            launcher._group_size,
            launcher._group_key,
            key,
            communication_hint=launcher._options.implementation.value,
            ordering_token=launcher._get_ordering_token(),
        )

    with tf.device(launcher._device):
        rows, slot = tf.unique(gradient.indices)  # [U], [ids]
        kind = (
            launcher._group_key,
            number,
            rows.dtype,
            gradient.values.dtype,
            *gradient.values.shape[1:],
        )
        place = _kinds.setdefault(kind, len(_kinds))
        first_key = _FIRST_KEY + place * _KEYS
        counts = gather(tf.shape(rows), first_key)  # [N]
        size, index = _rounded_up(tf.reduce_max(counts))
        key = first_key + 1 + 2 * index
        # Rows beyond U are zeros, and are added to an existing one.
        values = tf.math.unsorted_segment_sum(gradient.values, slot, size)
        rows = gather(tf.pad(rows, [[0, size - tf.size(rows)]]), key)
        values = gather(values, key + 1)  # [N size, ...]
        real = tf.reshape(tf.sequence_mask(counts, size), [-1])  # [N size]
        any_row = tf.reduce_max(tf.where(real, rows, 0))
        total = tf.size(rows) * tf.cast(tf.reduce_any(real), tf.int32)
        rows = tf.where(real, rows, any_row)
        return tf.IndexedSlices(values[:total], rows[:total])


def _rounded_up(count):
    """Returns the smallest of a few sizes that holds `count`, and its index.

    A collective's shape is fixed by its key, so tensors are padded to one of a
    few sizes, eight for each power of two, each with its own keys.
    """
    import tensorflow as tf

    count = tf.maximum(count, 8)
    power = tf.math.log(tf.cast(count, tf.float64) + 0.5)
    power = tf.cast(power / math.log(2), tf.int32)  # floor(log2(count))
    unit = tf.bitwise.left_shift(1, power - 3)
    units = -(-count // unit)  # 8 to 16
    return units * unit, 16 * power + units


def _reduce(context, rows, values, table_rows):
    """Returns the rows that any replica has, each once."""
    import tensorflow as tf

    shape = tf.shape(values)
    flat = tf.reshape(values, [shape[0], -1])  # [U, d]
    counted = tf.concat([flat, tf.ones_like(flat[:, :1])], 1)  # [U, d + 1]
    dense = tf.math.unsorted_segment_sum(counted, rows, table_rows)
    dense = context.all_reduce(tf.distribute.ReduceOp.SUM, dense)
    touched = tf.cast(tf.where(dense[:, -1] > 0)[:, 0], rows.dtype)  # [U]
    values = tf.gather(dense[:, :-1], touched)  # [U, d]
    return tf.IndexedSlices(
        tf.reshape(values, tf.concat([[-1], shape[1:]], 0)), touched
    )
