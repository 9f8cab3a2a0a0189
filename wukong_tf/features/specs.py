"""The spec of the same model for rows in another form."""

import dataclasses

from wukong_tf.config.feature_spec import FeatureSpec


def has_raw(spec: FeatureSpec) -> bool:
    """Whether a request holds raw values for any feature."""
    return any(feature.raw for feature in spec.categorical)


def of_requests(spec: FeatureSpec) -> FeatureSpec:
    """The spec of files whose rows hold what a request holds."""
    return dataclasses.replace(
        spec,
        categorical=tuple(
            dataclasses.replace(feature, encoded=False)
            for feature in spec.categorical
        ),
    )


def of_ids(spec: FeatureSpec) -> FeatureSpec:
    """The spec of rows whose raw values were made ids beforehand."""
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
