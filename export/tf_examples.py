"""From serialized tf.Examples to the columns of a request."""

import tensorflow as tf

from export import missing
from wukong_tf.config import FeatureSpec
from wukong_tf.features import signature


def parse(spec: FeatureSpec, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Examples [B] as columns, in the graph.

    What may be missing may be left out of an Example. A bag has up to
    `max_ids` values; its weights are as many.

    Args:
        spec: the features.
        serialized: strings [B], each a tf.train.Example.
    """
    absent = missing.missing_values(spec)
    bags = {f.name: f for f in spec.categorical if f.pooling}
    bags |= {f.weights: f for f in bags.values() if f.weights}
    forms = {}
    for name, form in signature(spec).items():
        if name in bags:
            forms[name] = tf.io.RaggedFeature(
                form.dtype, row_splits_dtype=tf.int64
            )
        else:
            forms[name] = tf.io.FixedLenFeature(
                form.shape[1:], form.dtype, absent.get(name)
            )
    read = tf.io.parse_example(serialized, forms)
    columns = dict(read)
    for name, feature in bags.items():
        bag = read[name]
        checks = [_at_most(name, bag, feature.max_ids)]
        if name == feature.weights:
            checks.append(_as_many(name, bag, read[feature.name]))
        with tf.control_dependencies(checks):
            bag = bag.with_values(tf.identity(bag.values))
        columns[name] = bag.to_tensor(
            absent[name], shape=[None, feature.max_ids]
        )
    return columns


def _at_most(name, bag, size):
    lengths = bag.row_lengths()
    return tf.debugging.Assert(
        tf.reduce_all(lengths <= size),
        [f"feature {name!r}: a bag must hold at most {size} values", lengths],
    )


def _as_many(name, weights, ids):
    lengths = weights.row_lengths()
    return tf.debugging.Assert(
        tf.reduce_all(lengths == ids.row_lengths()),
        [f"feature {name!r}: a bag must have a weight for each id", lengths],
    )


def serialize(spec: FeatureSpec, row: dict) -> bytes:
    """One row of a request as a serialized tf.train.Example.

    Args:
        spec: the features.
        row: feature name to a value, a list of them, or None where it is
            missing.
    """
    example = tf.train.Example()
    for name, form in signature(spec).items():
        value = row.get(name)
        if value is None:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        kept = example.features.feature[name]
        if form.dtype == tf.string:
            kept.bytes_list.value.extend(
                v if isinstance(v, bytes) else v.encode() for v in values
            )
        elif form.dtype == tf.int64:
            kept.int64_list.value.extend(values)
        else:
            kept.float_list.value.extend(values)
    return example.SerializeToString(deterministic=True)
