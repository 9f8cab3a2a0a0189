"""Checks of request values that are known only when the graph runs."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from wukong_tf.config import schema
from wukong_tf.config.categorical_feature import PADDING_ID
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.config.features import (
    LARGEST_NUMBER,
    LARGEST_WEIGHT,
    NUMBER_RANGE,
    WEIGHT_RANGE,
)

_NUMBER = f"a number {NUMBER_RANGE}, or missing"
_WEIGHT = f"one weight for each id, a number {WEIGHT_RANGE}"
_SCORE = "of numbers whose scores are finite"
# In no table: a lookup on the CPU fails instead of returning another feature's
# row.
NO_ROW = 2**40


def checked(
    spec: FeatureSpec, inputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns the inputs, with assertions that their floats are valid.

    A missing number is NaN, and the weights of padding become 0.

    Args:
        spec: the features.
        inputs: model inputs, with ids instead of raw values.
    """
    valid = dict(inputs)
    names = [feature.name for feature in spec.numeric]
    if names:
        numbers = tf.stack([inputs[name] for name in names], axis=1)  # [B, F]
        in_range = _are_numbers(_nan_to_zero(numbers))
        with _asserted(names, _NUMBER, in_range, numbers):
            for name in names:
                valid[name] = tf.identity(inputs[name])
    for vector in spec.vector:
        values = inputs[vector.name]  # [B, size]
        rule = f"a list of {vector.size} numbers {NUMBER_RANGE}"
        in_range = _are_numbers(values)
        with _asserted([vector.name] * vector.size, rule, in_range, values):
            valid[vector.name] = tf.identity(values)
    for feature in spec.categorical:
        if feature.weights:
            weights = inputs[feature.weights]  # [B, max_ids]
            in_range = _are_weights(inputs[feature.name], weights)
            names = [feature.weights] * feature.ids_per_row
            with _asserted(names, _WEIGHT, in_range, weights):
                valid[feature.weights] = tf.identity(weights)
    return real_weights(spec, valid)


def real_weights(
    spec: FeatureSpec, inputs: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns the inputs with the weights of padding set to 0.

    So are denormal weights, which only some engines can represent.
    """
    outputs = dict(inputs)
    for feature in spec.categorical:
        if feature.weights:
            weights = inputs[feature.weights]
            is_real = _are_ids(inputs[feature.name]) & (
                weights >= schema.SMALLEST
            )
            outputs[feature.weights] = tf.where(is_real, weights, 0.0)
    return outputs


def ids_in_range(
    name: str, num_ids: int, inside: tf.Tensor, ids: tf.Tensor
) -> tf.Tensor:
    """Returns ids [B] or [B, max_ids], asserting that all are `inside`."""
    two = tf.reshape(ids, [tf.shape(ids)[0], -1])
    good = tf.reshape(inside, tf.shape(two))
    names = [name] * (ids.shape[1] if ids.shape.rank == 2 else 1)
    with _asserted(names, f"an id in [0, {num_ids})", good, two):
        return tf.identity(ids)


def finite(outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns outputs [B], with assertions that all are finite."""
    scores = tf.stack(list(outputs.values()), axis=1)  # [B, outputs]
    with _asserted(list(outputs), _SCORE, tf.math.is_finite(scores), scores):
        return {name: tf.identity(value) for name, value in outputs.items()}


def guard(
    spec: FeatureSpec,
    inputs: Mapping[str, tf.Tensor],
    logits: Sequence[tf.Tensor],
    rows: Sequence[tf.Tensor] = (),
) -> tf.Tensor:
    """Returns zeros [B], instead of assertions in formats that have none.

    For a row that `checked` or `finite` reject, it gathers a row out of range,
    which fails on the CPU.

    Args:
        spec: the features, or the subset that `inputs` holds.
        inputs: model inputs, with ids instead of raw values.
        logits: [B] each.
        rows: rows of tables, [B, width] each. Defaults to ().
    """
    # x - x is 0, or NaN if x is not finite.
    x = _joined([tf.stack(list(logits), axis=1), *rows])
    bad = tf.math.is_nan(tf.reduce_sum(x - x, axis=1))  # [B]
    numbers = [inputs[vector.name] for vector in spec.vector]
    if spec.numeric:
        names = [feature.name for feature in spec.numeric]
        singles = tf.stack([inputs[name] for name in names], axis=1)
        numbers.append(_nan_to_zero(singles))
    if numbers:
        good = _are_numbers(_joined(numbers))
        bad |= tf.logical_not(tf.reduce_all(good, axis=1))
    for feature in spec.categorical:
        if feature.weights and feature.weights in inputs:
            weights = inputs[feature.weights]
            good = _are_weights(inputs[feature.name], weights)
            bad |= tf.logical_not(tf.reduce_all(good, axis=1))
    place = tf.where(bad, tf.constant(NO_ROW, tf.int64), 0)
    return tf.gather(tf.zeros([1]), place)


def _joined(parts):
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)


def _nan_to_zero(numbers):
    return tf.where(tf.math.is_nan(numbers), 0.0, numbers)


def _are_numbers(numbers):
    """Returns whether each number is valid; NaN is not."""
    return tf.abs(numbers) <= LARGEST_NUMBER


def _are_ids(ids):
    return ids != tf.constant(PADDING_ID, ids.dtype)


def _are_weights(ids, weights):
    """Returns whether each weight [B, max_ids] is valid."""
    # Written so that NaN fails at an id, and only there.
    real = (weights >= 0.0) & (weights <= LARGEST_WEIGHT)
    padding = (weights == 0.0) | (weights != weights)
    there = _are_ids(ids)
    return (there & real) | (tf.logical_not(there) & padding)


def _asserted(names, rule, good, values):
    """Returns a context that asserts that all values [B, F] are good."""
    place = tf.where(tf.logical_not(good))[:1]  # [0 or 1, 2]
    check = tf.debugging.Assert(
        tf.reduce_all(good),
        [
            "input",
            tf.gather(tf.constant([repr(name) for name in names]), place[:, 1]),
            "row",
            place[:, 0],
            f": must be {rule}; received",
            tf.gather_nd(values, place),
        ],
    )
    return tf.control_dependencies([check] if check is not None else [])
