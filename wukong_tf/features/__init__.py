"""Transforms raw columns to model inputs, both in training and in serving."""

from wukong_tf.features.floats import finite, guard, real_weights
from wukong_tf.features.lookups import Lookups
from wukong_tf.features.transforms import encode, encode_served, signature

__all__ = [
    "Lookups",
    "encode",
    "encode_served",
    "finite",
    "guard",
    "real_weights",
    "signature",
]
