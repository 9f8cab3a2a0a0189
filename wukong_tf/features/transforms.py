"""TensorFlow functions from raw columns to the model's inputs.

Ids of requests are checked or replaced, raw values become ids; numbers stay
raw, as the model itself standardizes them.
"""

import tensorflow as tf

from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.features.floats import NO_ROW, checked, ids_in_range
from wukong_tf.features.lookups import Lookups

_RAW_DTYPES = {"string": tf.string, "float": tf.float32}


def signature(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Specs of the raw columns that a served request holds.

    Returns:
        dict of feature name to spec: ids int64 [B], bags of ids int64
        [B, max_ids], padded with 0, and their weights float32 [B, max_ids],
        numbers float32 [B], vectors float32 [B, size]. Features with `raw`
        hold strings, int64 or float32 in place of ids, bags padded with
        what stands for a missing value.
    """
    specs = {}
    for feature in spec.categorical:
        shape = [None, feature.max_ids] if feature.max_ids else [None]
        dtype = _RAW_DTYPES.get(feature.raw or "", tf.int64)
        specs[feature.name] = tf.TensorSpec(shape, dtype, feature.name)
        if feature.weights:
            specs[feature.weights] = tf.TensorSpec(
                shape, tf.float32, feature.weights
            )
    for numeric in spec.numeric:
        specs[numeric.name] = tf.TensorSpec([None], tf.float32, numeric.name)
    for vector in spec.vector:
        specs[vector.name] = tf.TensorSpec(
            [None, vector.size], tf.float32, vector.name
        )
    return specs


def encode(
    spec: FeatureSpec, columns: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Columns of ids, checked to be in range, as the model's inputs.

    The model clips, transforms and standardizes numbers itself.

    Args:
        spec: the features.
        columns: dict of column name to ids [B], bags and their weights
            [B, max_ids], numbers [B] and vectors [B, size]; other columns
            are left out.

    Returns:
        dict of feature name to integer ids [B] or [B, max_ids], float32 [B]
        and float32 [B, size] or [B, max_ids].
    """
    inputs = {}
    for categorical in spec.categorical:
        inputs[categorical.name] = columns[categorical.name]
        if categorical.weights:
            weights = columns[categorical.weights]
            inputs[categorical.weights] = tf.cast(weights, tf.float32)
    for feature in spec.numeric:
        inputs[feature.name] = tf.cast(columns[feature.name], tf.float32)
    for vector in spec.vector:
        inputs[vector.name] = tf.cast(columns[vector.name], tf.float32)
    return inputs


def encode_served(
    spec: FeatureSpec,
    columns: dict[str, tf.Tensor],
    lookups: Lookups | None = None,
) -> dict[str, tf.Tensor]:
    """As `encode`, for requests that nobody has checked.

    Raw values become ids. An id outside its feature's range is read as the
    feature's `oov_id`. Where it has none, or a float breaks its rule, the
    graph fails with an error that names input, row and rule.

    Args:
        spec: the features.
        columns: as `signature` describes them.
        lookups: those of the spec; needed where a feature has `raw`.
    """
    found = dict(columns)
    for feature in spec.categorical:
        values = columns[feature.name]
        if feature.raw is None:
            found[feature.name] = served_ids(feature, values)
        elif lookups is None:
            raise ValueError(
                f"feature {feature.name!r} holds raw values, which need "
                "`lookups`."
            )
        else:
            found[feature.name] = lookups.ids(feature, values)
    return checked(spec, encode(spec, found))


def served_ids(feature: CategoricalFeature, ids: tf.Tensor) -> tf.Tensor:
    """Ids [B] or [B, max_ids] with those out of range replaced or refused.

    A 0 in a bag is padding, which is in range.
    """
    ids = tf.convert_to_tensor(ids)
    inside = (ids >= 0) & (ids < feature.num_ids)
    if feature.oov_id is not None:
        replacement = tf.constant(feature.oov_id, ids.dtype)
        return tf.where(inside, ids, replacement)
    ids = ids_in_range(feature.name, feature.num_ids, inside, ids)
    # Formats that drop assertions still refuse the row that is not there.
    return tf.where(inside, ids, tf.constant(NO_ROW, ids.dtype))
