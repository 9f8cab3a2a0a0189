"""Variants of a model's spec for rows in another form."""

import dataclasses

from wukong_tf.config.feature_spec import FeatureSpec


def has_raw(spec: FeatureSpec) -> bool:
    """Returns whether requests hold raw values for any feature."""
    return any(feature.raw for feature in spec.categorical)


def of_requests(spec: FeatureSpec) -> FeatureSpec:
    """Returns the spec of files whose rows hold the columns of a request."""
    return dataclasses.replace(
        spec,
        categorical=tuple(
            dataclasses.replace(feature, encoded=False)
            for feature in spec.categorical
        ),
    )


def of_ids(spec: FeatureSpec) -> FeatureSpec:
    """Returns the spec of rows whose raw values are already mapped to ids."""
    return dataclasses.replace(
        spec,
        categorical=tuple(
            dataclasses.replace(
                feature,
                raw=None,
                encoded=False,
                boundaries=None,
                vocabulary=None,
                oov_buckets=1,
            )
            if feature.raw
            else feature
            for feature in spec.categorical
        ),
    )
