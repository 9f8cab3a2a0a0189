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
    columns = dict(tf.io.parse_example(serialized, forms))
    for name, feature in bags.items():
        bag = columns[name]
        if not feature.weights:
            bag = _without_missing(bag, absent[name], feature.max_ids)
        elif name == feature.name:
            weights = columns[feature.weights]
            check = _as_many(feature, bag, weights)
            with tf.control_dependencies([check]):
                bag = bag.with_values(tf.identity(bag.values))
        columns[name] = bag
    return columns | {
        name: columns[name].to_tensor(
            absent[name], shape=[None, feature.max_ids]
        )
        for name, feature in bags.items()
    }


def _without_missing(bag, missing, size):
    """Returns bags; drops missing values from those longer than `size`."""
    keep = (bag.values != missing) | tf.gather(
        bag.row_lengths() <= size, bag.value_rowids()
    )
    return tf.ragged.boolean_mask(bag, bag.with_values(keep))


def _as_many(feature, ids, weights):
    """Asserts that bags longer than `max_ids` have a weight per value."""
    long = tf.maximum(ids.row_lengths(), weights.row_lengths())
    good = (long <= feature.max_ids) | (
        ids.row_lengths() == weights.row_lengths()
    )
    row = tf.where(tf.logical_not(good))[:1, 0]
    return tf.debugging.Assert(
        tf.reduce_all(good),
        [
            f"input {feature.weights!r} row",
            row,
            "must be one weight for each value; received",
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
