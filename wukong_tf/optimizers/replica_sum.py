"""Sums gradients over the replicas of a tf.distribute strategy.

A table's gradient is sparse. Repeated ids are summed on each replica first, and
then the replicas are summed in one of two ways:

- "gather": an all-gather of the rows, and their numbers, of all replicas;
- "reduce": an all-reduce of the dense gradient of the whole table, which sends
  less if the batches of all replicas have more rows than the table.

Both give the same sums and the same touched rows.
"""

from collections.abc import Sequence

GATHER, REDUCE = "gather", "reduce"
WAYS = (GATHER, REDUCE)


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
                total = _reduce(
                    context, rows, values, variables[index].shape[0]
                )
            else:
                total = _gather(context, gradient, index)
            # Without a shape it could not become dense.
            summed[index] = tf.IndexedSlices(
                total.values, total.indices, gradient.dense_shape
            )
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

    from wukong_tf.sharding import collectives

    group = collectives.current_group()
    if group is None:  # the replicas of one process
        rows, values = summed_rows(gradient)
        rows, values = context.all_gather([rows, values], axis=0)
        return tf.IndexedSlices(values, rows)
    with tf.device(group.device):
        rows, slot = tf.unique(gradient.indices)  # [U], [ids]
        first_key = collectives.first_key(
            (
                group.key,
                number,
                rows.dtype,
                gradient.values.dtype,
                *gradient.values.shape[1:],
            )
        )
        counts = group.all_gather(tf.shape(rows), first_key)  # [N]
        size, index = collectives.rounded_up(tf.reduce_max(counts))
        key = first_key + 1 + 2 * index
        # Rows beyond U are zeros, and are added to an existing one.
        values = tf.math.unsorted_segment_sum(gradient.values, slot, size)
        rows = group.all_gather(tf.pad(rows, [[0, size - tf.size(rows)]]), key)
        values = group.all_gather(values, key + 1)  # [N size, ...]
        real = tf.reshape(tf.sequence_mask(counts, size), [-1])  # [N size]
        any_row = tf.reduce_max(tf.where(real, rows, 0))
        total = tf.size(rows) * tf.cast(tf.reduce_any(real), tf.int32)
        rows = tf.where(real, rows, any_row)
        return tf.IndexedSlices(values[:total], rows[:total])


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
