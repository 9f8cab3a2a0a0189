"""Transforms raw columns to model inputs, both in training and in serving."""

from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.features.floats import finite, guard, real_weights
from wukong_tf.features.lookups import Lookups
from wukong_tf.features.transforms import encode, encode_served, signature

__all__ = [
    "Lookups",
    "encode",
    "encode_served",
    "finite",
    "guard",
    "has_raw",
    "of_ids",
    "of_requests",
    "real_weights",
    "signature",
]

of_ids = FeatureSpec.as_ids
"""Former name of `FeatureSpec.as_ids`."""
of_requests = FeatureSpec.as_requests
"""Former name of `FeatureSpec.as_requests`."""


def has_raw(spec: FeatureSpec) -> bool:
    """Returns `spec.has_raw`, as its former name."""
    return spec.has_raw
