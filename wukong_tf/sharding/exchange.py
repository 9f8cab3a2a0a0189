"""Looks rows up at the workers that own them.

Each worker sends every distinct id of its batch once to the id's owner, which
looks the rows up and sends them back. Gradients go the same way: the rows of
repeated ids are summed before they are sent, and arrive as the gradient of the
owner's rows. Both may be sent as bfloat16; ids are int32, and sums are in the
table's dtype.
"""

from typing import Any

import tensorflow as tf

from wukong_tf.embeddings import table_rows
from wukong_tf.errors import ConfigError
from wukong_tf.sharding import collectives
from wukong_tf.sharding.layout import Shards

MAX_LOCAL_ROWS = 2**31 - 1  # rows of a worker are indexed in int32


class ShardedLookup:
    """An engine whose table is sharded by rows over the workers.

    Each worker creates only the rows it owns, in the scope of a
    `tf.distribute.MultiWorkerMirroredStrategy` with one replica for each
    worker; `shards` of the Keras weight says which. All workers must look up
    together, inside `strategy.run`. On one worker the table is a usual one.
    """

    def build(self, layer, rows, width, features):
        """Creates the owned rows, zeros, as a weight of `layer`.

        Raises:
            ConfigError: the strategy's replicas are not of one worker each,
                outnumber the rows, or are too few for them.
        """
        del features
        count, index = collectives.members("tables")
        if not count <= rows <= count * MAX_LOCAL_ROWS:
            raise ConfigError(
                f"{layer.name}: sharded tables must have 1 to "
                f"{MAX_LOCAL_ROWS} rows for each of {count} workers; they have "
                f"{rows}."
            )
        if count == 1:
            return layer.add_weight(
                name="table", shape=(rows, width), initializer="zeros"
            )
        shards = Shards(rows, count, index)
        with table_rows.unmirrored():
            table = layer.add_weight(
                name="table",
                shape=(shards.local_rows, width),
                initializer="zeros",
            )
        table.shards = shards
        return table

    def __call__(self, table, ids, exchange_dtype="float32"):
        """Reads rows [B, F, width] of `table` by row numbers `ids` [B, F]."""
        shards = getattr(table, "shards", None)
        if shards is None:
            return table_rows.local(table.value).sparse_read(ids)
        group = collectives.current_group()
        if group is None:
            raise RuntimeError(
                f"{table.path} is sharded over {shards.count} workers, which "
                "must read it together, inside `strategy.run`."
            )
        with tf.device(group.device):
            narrow = exchange_dtype == "bfloat16"
            return _read(group, shards, table, ids, narrow)


def _read(group, shards, table, ids, narrow) -> Any:
    size = group.size
    dtype = "bfloat16" if narrow else str(table.dtype)
    key = collectives.first_key((group.key, table.path, dtype))
    distinct, which = tf.unique(tf.reshape(ids, [-1]))  # [U], [ids]
    owners, rows = shards.places(tf.cast(distinct, tf.int64))
    owners = tf.cast(owners, tf.int32)
    # [U]: the distinct ids, by owner
    order = tf.concat(
        tf.dynamic_partition(tf.range(tf.size(owners)), owners, size), 0
    )
    mine = tf.math.unsorted_segment_sum(tf.ones_like(owners), owners, size)
    counts = group.all_gather(mine[None], key)  # [from, to]
    capacity, index = collectives.rounded_up(tf.reduce_max(counts))
    key_of_ids, key_of_rows, key_of_gradients = (
        key + 1 + phase * collectives.SIZES + index for phase in range(3)
    )
    # Places of the distinct ids, by owner, in buckets [to, capacity].
    slots = _places(mine, capacity)
    asked = tf.scatter_nd(
        slots[:, None],
        tf.cast(tf.gather(rows, order), tf.int32),
        [size * capacity],
    )
    wanted = group.all_to_all(tf.reshape(asked, [size, capacity]), key_of_ids)
    # Only rows that are asked for are read, so no other has a gradient.
    real = _places(counts[:, shards.index], capacity)  # [W]
    found = table.value.sparse_read(tf.gather(tf.reshape(wanted, [-1]), real))
    width = found.shape[-1]
    sent = tf.scatter_nd(real[:, None], found, [size * capacity, width])
    sent = tf.reshape(sent, [size, capacity, width])
    got = _exchanged(group, sent, key_of_rows, key_of_gradients, narrow)
    got = tf.reshape(got, [-1, width])
    of_distinct = tf.scatter_nd(order[:, None], slots, tf.shape(order))
    read = tf.gather(got, tf.gather(of_distinct, which))
    return tf.reshape(read, tf.concat([tf.shape(ids), [width]], 0))


def _places(counts, capacity):
    """Returns the places of `counts` [N] entries in buckets [N * capacity]."""
    return tf.cast(
        tf.where(tf.reshape(tf.sequence_mask(counts, capacity), [-1]))[:, 0],
        tf.int32,
    )


def _exchanged(group, sent, key, key_of_gradient, narrow):
    """Returns the exchanged tensor; its gradient is exchanged back."""

    @tf.custom_gradient
    def exchange(sent):
        def gradient(upstream):
            return _all_to_all(group, upstream, key_of_gradient, narrow)

        return _all_to_all(group, sent, key, narrow), gradient

    return exchange(sent)


def _all_to_all(group, tensor, key, narrow):
    """Exchanges the parts of a tensor, rounded to bfloat16 if `narrow`.

    The result has the tensor's dtype. Ties are rounded to even.
    """
    if not narrow:
        return group.all_to_all(tensor, key)
    # As the bits of float16, which NCCL in every TensorFlow can send.
    bits = tf.bitcast(tf.cast(tensor, tf.bfloat16), tf.float16)
    bits = group.all_to_all(bits, key)
    return tf.cast(tf.bitcast(bits, tf.bfloat16), tensor.dtype)
