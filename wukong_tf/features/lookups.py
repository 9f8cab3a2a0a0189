"""Maps raw values to ids with TensorFlow operations."""

import os

import tensorflow as tf

from wukong_tf.config import schema
from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec

_UNKNOWN = -1  # default value of the hash tables


class Lookups(tf.Module):
    """The vocabularies of a spec, which map raw values to ids.

    The trainer and the served graph both use `ids`.

    Args:
        spec: the features.
        folder: directory to write vocabularies to, as text files that a
            SavedModel copies as assets, unless a value contains a line break.
            Defaults to None: they are only held in memory.
    """

    def __init__(self, spec: FeatureSpec, folder: str | None = None):
        super().__init__(name="lookups")
        self.tables: dict[str, tf.lookup.StaticHashTable] = {}
        for feature in spec.categorical:
            name = feature.table_name
            vocabulary = spec.vocabulary(name)
            if feature.raw and vocabulary and name not in self.tables:
                self.tables[name] = _hash_table(
                    vocabulary, folder, len(self.tables)
                )
        self._hashed = {
            feature.table_name
            for feature in spec.categorical
            if spec.vocabulary(feature.table_name) is None
        }

    def ids(self, feature: CategoricalFeature, values: tf.Tensor) -> tf.Tensor:
        """Returns the ids of raw values.

        Args:
            feature: a feature with `raw`.
            values: strings, int64 or float32, according to `raw`, of any shape.

        Returns:
            int64 of the same shape, each id in [0, num_ids).
        """
        if feature.raw == "float":
            flat = tf.reshape(tf.cast(values, tf.float32), [-1])
            flat = tf.where(tf.abs(flat) < schema.SMALLEST, 0.0, flat)
            boundaries = tf.constant(feature.boundaries, tf.float32)
            place = tf.searchsorted(boundaries, flat, side="right")
            ids = tf.reshape(place, tf.shape(values)) + feature.first_id
            ids = tf.cast(ids, tf.int64)
            missing = tf.math.is_nan(values)
        else:
            if feature.raw == "int64":
                values = tf.cast(values, tf.int64)
                missing = values == feature.missing_value
                values = tf.strings.as_string(values)
            else:
                missing = values == ""
            ids = self._ids_from_texts(feature, values)
        return tf.where(missing, tf.constant(feature.missing_id, tf.int64), ids)

    def _ids_from_texts(self, feature, values):
        if feature.table_name in self._hashed:
            buckets = feature.num_ids - OOV_ID
            return OOV_ID + tf.strings.to_hash_bucket_fast(values, buckets)
        hashed = OOV_ID + tf.strings.to_hash_bucket_fast(
            values, feature.oov_buckets
        )
        table = self.tables.get(feature.table_name)
        if table is None:  # an empty vocabulary
            return hashed
        place = table.lookup(values)
        return tf.where(place == _UNKNOWN, hashed, place + feature.first_id)


def _hash_table(vocabulary, folder, number):
    # A value with a line break does not fit a file of one value per line.
    broken = any("\n" in value or "\r" in value for value in vocabulary)
    if folder is None or broken:
        rows = tf.lookup.KeyValueTensorInitializer(
            tf.constant(vocabulary),
            tf.range(len(vocabulary), dtype=tf.int64),
        )
        return tf.lookup.StaticHashTable(rows, _UNKNOWN)
    path = os.path.join(folder, f"vocabulary_{number:03d}.txt")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"{value}\n" for value in vocabulary)
    rows = tf.lookup.TextFileInitializer(
        path,
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        vocab_size=len(vocabulary),
    )
    return tf.lookup.StaticHashTable(rows, _UNKNOWN)
