"""Conversion of serialized tf.Examples to the columns of a request."""

import tensorflow as tf

from export.served import missing
from wukong_tf.config import FeatureSpec
from wukong_tf.features import signature


def parse(spec: FeatureSpec, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses examples [B] into columns, in the graph.

    Optional inputs may be left out of an Example. A bag is cut to its first
    `max_ids` values that are not missing; it must have as many weights.

    Args:
        spec: the features.
        serialized: strings [B], each a tf.train.Example.
    """
    defaults = missing.missing_values(spec)
    bags = {f.name: f for f in spec.categorical if f.pooling}
    bags |= {f.weights: f for f in bags.values() if f.weights}
    parsers = {
        name: tf.io.RaggedFeature(tensor.dtype, row_splits_dtype=tf.int64)
        if name in bags
        else tf.io.FixedLenFeature(
            tensor.shape[1:], tensor.dtype, defaults.get(name)
        )
        for name, tensor in signature(spec).items()
    }
    columns = dict(tf.io.parse_example(serialized, parsers))
    for name, feature in bags.items():
        bag = columns[name]
        if not feature.weights:
            bag = _without_missing(bag, defaults[name], feature.max_ids)
        elif name == feature.name:
            weights = columns[feature.weights]
            check = _assert_weights(feature, bag, weights)
            with tf.control_dependencies([check]):
                bag = bag.with_values(tf.identity(bag.values))
        columns[name] = bag
    return columns | {
        name: columns[name].to_tensor(
            defaults[name], shape=[None, feature.max_ids]
        )
        for name, feature in bags.items()
    }


def _without_missing(bag, missing, size):
    """Returns bags; drops missing values from those longer than `size`."""
    keep = (bag.values != missing) | tf.gather(
        bag.row_lengths() <= size, bag.value_rowids()
    )
    return tf.ragged.boolean_mask(bag, bag.with_values(keep))


def _assert_weights(feature, ids, weights):
    """Asserts that bags longer than `max_ids` have a weight per value."""
    long = tf.maximum(ids.row_lengths(), weights.row_lengths())
    matched = (long <= feature.max_ids) | (
        ids.row_lengths() == weights.row_lengths()
    )
    row = tf.where(tf.logical_not(matched))[:1, 0]
    return tf.debugging.Assert(
        tf.reduce_all(matched),
        [
            f"input {feature.weights!r} row",
            row,
            "must have one weight for each value; received",
            tf.gather(weights.row_lengths(), row),
        ],
    )


def serialize(spec: FeatureSpec, row: dict) -> bytes:
    """Returns a row of a request as a serialized tf.train.Example.

    Args:
        spec: the features.
        row: feature name to a value, a list of values, or None if missing.
    """
    example = tf.train.Example()
    for name, tensor in signature(spec).items():
        value = row.get(name)
        if value is None:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        feature = example.features.feature[name]
        if tensor.dtype == tf.string:
            feature.bytes_list.value.extend(
                v if isinstance(v, bytes) else v.encode() for v in values
            )
        elif tensor.dtype == tf.int64:
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return example.SerializeToString(deterministic=True)
