"""Which inputs of a request may be missing, and what then stands for them."""

import math

import tensorflow as tf

from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.features import signature

Value = str | int | float


def of_feature(feature: CategoricalFeature) -> Value:
    """What stands for a missing value, and pads a bag."""
    if feature.raw == "string":
        return ""
    if feature.raw == "int64":
        return feature.missing_value
    return math.nan if feature.raw == "float" else 0


def missing_values(spec: FeatureSpec) -> dict[str, Value]:
    """What stands for each input that a request may leave out.

    Features with `raw`, bags with their weights, and numbers may be left
    out; ids and vectors may not. Weights of a bag that is not empty are NaN
    then, which the graph refuses.
    """
    found: dict[str, Value] = {}
    for feature in spec.categorical:
        if feature.raw or feature.pooling:
            found[feature.name] = of_feature(feature)
        if feature.weights:
            found[feature.weights] = math.nan
    for numeric in spec.numeric:
        found[numeric.name] = math.nan
    return found


def empty_inputs(spec: FeatureSpec) -> dict[str, tf.Tensor]:
    """The inputs that may be left out, without rows, as `fill` takes them."""
    specs = signature(spec)
    return {
        name: tf.zeros([0, *specs[name].shape[1:]], specs[name].dtype)
        for name in missing_values(spec)
    }


def fill(
    spec: FeatureSpec, columns: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Columns of a request, some or all, with those without rows filled.

    The graph fails where two columns have unequal numbers of rows above 0.
    """
    missing = {
        name: value
        for name, value in missing_values(spec).items()
        if name in columns
    }
    if not missing:
        return columns
    names = list(columns)
    sizes = tf.stack([tf.shape(columns[name])[0] for name in names])  # [C]
    rows = tf.reduce_max(sizes)
    optional = tf.constant([name in missing for name in names])
    check = tf.debugging.Assert(
        tf.reduce_all((sizes == rows) | ((sizes == 0) & optional)),
        [
            "every input must have as many rows, or none where it may be "
            f"missing; rows of {names}:",
            sizes,
        ],
        summarize=len(names),
    )
    filled = dict(columns)
    with tf.control_dependencies([check] if check is not None else []):
        for name, value in missing.items():
            column = columns[name]
            lacking = rows - tf.shape(column)[0]
            shape = tf.concat([[lacking], tf.shape(column)[1:]], 0)
            rest = tf.fill(shape, tf.constant(value, column.dtype))
            filled[name] = tf.concat([column, rest], 0)
    return filled
