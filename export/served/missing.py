"""Optional inputs of a request, and the values that replace them."""

import math

import tensorflow as tf

from export.client.encode import columns_of
from wukong_tf.config import FeatureSpec
from wukong_tf.features import signature


def missing_values(spec: FeatureSpec) -> dict[str, str | int | float]:
    """Returns the replacement values of the optional inputs, by name.

    Features with `raw`, bags with their weights, and numbers are optional;
    ids and vectors are not. If only the weights of a nonempty bag are left
    out, they are NaN, which the graph rejects.
    """
    values: dict[str, str | int | float] = {}
    for name, column in columns_of(spec.to_dict()).items():
        if column.kind == "weight":
            values[name] = math.nan
        elif column.missing is not None:
            text = isinstance(column.missing, bytes)
            values[name] = column.missing.decode() if text else column.missing
    return values


def empty_inputs(spec: FeatureSpec) -> dict[str, tf.Tensor]:
    """Returns the optional inputs with 0 rows, which `fill` accepts."""
    specs = signature(spec)
    return {
        name: tf.zeros([0, *specs[name].shape[1:]], specs[name].dtype)
        for name in missing_values(spec)
    }


def fill(
    spec: FeatureSpec, columns: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns all or some columns of a request, those without rows filled.

    The graph raises if two columns have different nonzero numbers of rows.
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
            "all inputs must have the same number of rows, or 0 if optional; "
            f"received for {names}:",
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
