"""Raw values in Arrow arrays as ids, by the lookups that are served."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from wukong_tf.arrow.plain import is_number, is_text
from wukong_tf.arrow.texts import EXACT
from wukong_tf.categorical_feature import PADDING_ID
from wukong_tf.config import CategoricalFeature
from wukong_tf.features import Lookups

# By a feature's `raw`: its Arrow types in words, and whether a type is one.
TYPES = {
    "string": ("strings", is_text),
    "int64": ("integers", is_number),
    "float": ("numbers", is_number),
}


def ids(
    array: pa.Array, feature: CategoricalFeature, lookups: Lookups
) -> pa.Array:
    """Ids, int32, of raw values; a null stays one.

    Each distinct value is looked up once. Where integers are due, a NaN is a
    null; what int64 cannot hold, or a float or decimal may not hold exactly,
    becomes -1.
    """
    if pa.types.is_null(array.type):
        return array.cast(pa.int32())
    if feature.raw == "float":
        values = array.cast(pa.float64(), safe=False).cast(pa.float32(), False)
        numbers = pc.fill_null(values, float("nan"))
        numbers = numbers.to_numpy(zero_copy_only=False)
        return pa.array(_looked_up(feature, lookups, numbers))
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    words = array.dictionary
    if feature.raw == "int64":
        numbers, fits, gaps = _integers(words)
        found = _looked_up(feature, lookups, numbers)
        found = pa.array(np.where(fits, found, np.int32(-1)), mask=gaps)
        return found.take(array.indices)
    # As bytes: what is no UTF-8 is out of vocabulary, and no error.
    binary = words.cast(pa.large_binary()).to_pylist()
    found = _looked_up(
        feature, lookups, np.array([w or b"" for w in binary], object)
    )
    return pa.array(found).take(array.indices)


def _integers(words):
    """Numbers as int64, which of them fit, and which are missing."""
    kind = words.type
    if pa.types.is_decimal(kind):
        most = np.iinfo(np.int64).max
        found = words.to_pylist()
        fits = np.array([n == int(n) and abs(n) <= most for n in found], bool)
        found = [
            int(n) if good else 0 for n, good in zip(found, fits, strict=True)
        ]
        return np.array(found, np.int64), fits, np.zeros(len(found), bool)
    numbers = words.to_numpy(zero_copy_only=False)
    gaps = np.zeros(len(numbers), bool)
    if pa.types.is_floating(kind):
        numbers, gaps = numbers.astype(np.float64), np.isnan(numbers)
        numbers = np.where(gaps, 0.0, numbers)
        fits = np.floor(numbers) == numbers
        fits &= np.abs(numbers) < EXACT[kind.bit_width]
    else:
        fits = numbers <= np.iinfo(np.int64).max
    return np.where(fits, numbers, 0).astype(np.int64), fits, gaps


def encode_lists(array: pa.Array, encode, weighted: bool) -> pa.Array:
    """Returns a list array whose values are ids; a null list is an empty one.

    Args:
        array: lists of raw values.
        encode: from an array of them to ids.
        weighted: whether each value has a weight, so that a missing one
            cannot be left out; otherwise it is.
    """
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    lengths = lengths.to_numpy(zero_copy_only=False)
    ids = encode(array.flatten())
    if not weighted:
        there = pc.fill_null(pc.not_equal(ids, PADDING_ID), False)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        rows = rows[there.to_numpy(zero_copy_only=False)]
        lengths = np.bincount(rows, minlength=len(lengths))
        ids = ids.filter(there)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), ids)


def _looked_up(feature, lookups, values) -> np.ndarray:
    if not len(values):
        return np.empty(0, np.int32)
    return lookups.ids(feature, tf.constant(values)).numpy().astype(np.int32)
