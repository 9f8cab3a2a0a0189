"""TensorFlow functions from raw columns to the model's inputs.

Request ids are checked or replaced, and raw values are mapped to ids; numbers
stay raw, as the model standardizes them.
"""

import tensorflow as tf

from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.columns import columns
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.features.floats import NO_ROW, checked, ids_in_range
from wukong_tf.features.lookups import Lookups

_RAW_DTYPES = {"string": tf.string, "float": tf.float32}


def signature(spec: FeatureSpec) -> dict[str, tf.TensorSpec]:
    """Returns the tensor specs of the raw columns in a served request.

    Returns:
        dict of feature name to spec, with ids int64 [B], bags of ids int64
        [B, max_ids], padded with 0, and their weights float32 [B, max_ids],
        numbers float32 [B], vectors float32 [B, size]. Features with `raw` hold
        strings, int64 or float32 instead of ids; their bags are padded with the
        missing value.
    """
    return {
        column.name: tf.TensorSpec(
            [None, *column.shape],
            tf.float32
            if column.floats
            else _RAW_DTYPES.get(column.raw or "", tf.int64),
            column.name,
        )
        for column in columns(spec)
    }


def encode(
    spec: FeatureSpec, values: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Returns model inputs from columns of ids that are known to be in range.

    The model clips, transforms and standardizes numbers itself.

    Args:
        spec: the features.
        values: dict of column name to ids [B], bags and their weights
            [B, max_ids], numbers [B] and vectors [B, size]; other columns are
            ignored.

    Returns:
        dict of feature name to integer ids [B] or [B, max_ids], float32 [B]
        and float32 [B, size] or [B, max_ids].
    """
    return {
        column.name: tf.cast(values[column.name], tf.float32)
        if column.floats
        else values[column.name]
        for column in columns(spec)
    }


def encode_served(
    spec: FeatureSpec,
    columns: dict[str, tf.Tensor],
    lookups: Lookups | None = None,
) -> dict[str, tf.Tensor]:
    """Encodes and checks the columns of a request, which may be invalid.

    Raw values are mapped to inputs. An id out of range is replaced by the
    feature's `oov_id`. If there is none, or a float is invalid, the graph fails
    with an error that names input, row and rule.

    Args:
        spec: the features.
        columns: as `signature` describes them.
        lookups: lookups of the spec; required if a feature has `raw`.
    """
    inputs = dict(columns)
    for feature in spec.categorical:
        values = columns[feature.name]
        if feature.raw is None:
            inputs[feature.name] = served_ids(feature, values)
        elif lookups is None:
            raise ValueError(
                f"feature {feature.name!r}: `lookups` are required, as it "
                "holds raw values; received None."
            )
        else:
            inputs[feature.name] = lookups.ids(feature, values)
    return checked(spec, encode(spec, inputs))


def served_ids(feature: CategoricalFeature, ids: tf.Tensor) -> tf.Tensor:
    """Returns ids [B] or [B, max_ids]; replaces or rejects those out of range.

    A 0 in a bag is padding, which is in range.
    """
    ids = tf.convert_to_tensor(ids)
    inside = (ids >= 0) & (ids < feature.num_ids)
    if feature.oov_id is not None:
        replacement = tf.constant(feature.oov_id, ids.dtype)
        return tf.where(inside, ids, replacement)
    ids = ids_in_range(feature.name, feature.num_ids, inside, ids)
    # Formats without assertions still fail on the row out of range.
    return tf.where(inside, ids, tf.constant(NO_ROW, ids.dtype))
