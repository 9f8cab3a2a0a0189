"""Checks of ids that are known only when a TensorFlow graph runs."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from wukong_tf.config.columns import Column


def in_range(
    columns: Sequence[Column], inputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns the inputs, with assertions that their ids are in range.

    Args:
        columns: columns of a model.
        inputs: tensors by column name.
    """
    asserted = dict(inputs)
    for column in columns:
        if column.num_ids is None:
            continue
        ids = asserted[column.name]
        inside = tf.logical_and(ids >= 0, ids < column.num_ids)
        rule = f"ids must be in [0, {column.num_ids}); received"
        outside = tf.boolean_mask(ids, tf.logical_not(inside))
        data = [f"feature {column.name!r}: {rule}", outside]
        check = tf.debugging.Assert(tf.reduce_all(inside), data)
        with tf.control_dependencies([check]):
            asserted[column.name] = tf.identity(ids)
    return asserted
