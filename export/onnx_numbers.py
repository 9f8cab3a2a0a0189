"""All numeric features of a graph at once, in a chain of one."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from wukong_tf.config import NumericFeature


def numbers(
    features: Sequence[NumericFeature], columns: Mapping[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """What `wukong_tf.features` makes of numbers, a column [B, 1] each.

    Each value goes through the same operations in the same order as there,
    so it is the same; but all features of a batch go together.

    Args:
        features: the numeric features.
        columns: numbers [B] of each, NaN where one is missing.
    """
    if not features:
        return {}
    x = tf.concat(
        [tf.reshape(columns[f.name], [-1, 1]) for f in features], 1
    )  # [B, F]
    missing = tf.math.is_nan(x)
    stand_ins = _row(0.0 if f.missing is None else f.missing for f in features)
    x = tf.where(missing, stand_ins, x)
    if any(f.clip_min is not None for f in features):
        lowest = (
            -np.inf if f.clip_min is None else f.clip_min for f in features
        )
        x = tf.maximum(x, _row(lowest))
    if any(f.clip_max is not None for f in features):
        highest = (
            np.inf if f.clip_max is None else f.clip_max for f in features
        )
        x = tf.minimum(x, _row(highest))
    logs = [f.transform == "log1p" for f in features]
    if any(logs):
        logged = tf.sign(x) * tf.math.log1p(tf.abs(x))
        x = logged if all(logs) else tf.where([logs], logged, x)
    x = (x - _row(f.mean for f in features)) / _row(f.stddev for f in features)
    at_the_mean = [f.missing is None for f in features]
    if any(at_the_mean):
        x = tf.where(missing & tf.constant([at_the_mean]), 0.0, x)
    parts = tf.split(x, len(features), axis=1)
    return {f.name: part for f, part in zip(features, parts, strict=True)}


def _row(values) -> tf.Tensor:
    return tf.constant([list(values)], tf.float32)  # [1, F]
