"""Maps raw values in Arrow arrays to ids, with the lookups of serving."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from wukong_tf.arrow.errors import InvalidValue
from wukong_tf.arrow.plain import is_number, is_text, is_time
from wukong_tf.arrow.texts import EXACT, texts
from wukong_tf.config import CategoricalFeature
from wukong_tf.config.categorical_feature import PADDING_ID
from wukong_tf.features import Lookups

_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")
_INT64 = np.iinfo(np.int64)


def _is_category(kind: pa.DataType) -> bool:
    return (
        is_text(kind)
        or is_number(kind)
        or is_time(kind)
        or pa.types.is_boolean(kind)
    )


# By a feature's `raw`: valid Arrow types, the rule of a value, and a test of a
# type. Integers and their decimal texts are interchangeable.
TYPES: dict[str, tuple[str, str, Callable[[pa.DataType], bool]]] = {
    "string": ("strings or integers", "a string or an integer", _is_category),
    "int64": (
        "integers",
        "an integer that int64 can hold",
        lambda kind: is_number(kind) or is_text(kind),
    ),
    "float": ("numbers", "a number", is_number),
}


def ids(
    array: pa.Array, feature: CategoricalFeature, lookups: Lookups
) -> pa.Array:
    """Returns the ids, int32, of raw values; nulls stay nulls.

    Each distinct value is looked up once. Unless `raw` is "float", invalid ones
    become -1: floats and decimals that may not be exact integers and, if it is
    "int64", integers beyond int64 and texts that are not integers.
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
    if feature.raw == "int64" and not is_text(words.type):
        values, fits, missing = _integers(words)
    else:
        spelled, fits = _texts(words)
        if pa.types.is_boolean(words.type):
            spelled = _as_spelled(spelled, feature, lookups)
        missing = np.array([not text for text in spelled], bool)
        values = np.array(spelled, object)
        if feature.raw == "int64":
            numbers = [_integer(text) for text in spelled]
            fits = np.array([n is not None for n in numbers], bool) | missing
            values = np.array([n or 0 for n in numbers], np.int64)
    word_ids = _looked_up(feature, lookups, values)
    word_ids = np.where(fits, word_ids, np.int32(-1))
    return pa.array(word_ids, mask=missing).take(array.indices)


def _texts(words) -> tuple[list[bytes], np.ndarray]:
    """Returns texts of values, and which values have one."""
    if is_text(words.type):
        # As bytes: invalid UTF-8 is out of vocabulary, not an error.
        binary = words.cast(pa.large_binary()).to_pylist()
        return [word or b"" for word in binary], np.ones(len(words), bool)
    try:
        converted = texts(words).to_pylist()
    except InvalidValue:
        converted = [_text(words[row : row + 1]) for row in range(len(words))]
    good = np.array([text is not None for text in converted], bool)
    return [b"?" if text is None else text.encode() for text in converted], good


def _as_spelled(
    words: list[bytes], feature: CategoricalFeature, lookups: Lookups
) -> list[bytes]:
    """Returns the texts of bools as the vocabulary spells them.

    Parquet's bools are "true" and "false" in a vocabulary; those of a CSV file
    keep their spelling, such as "True", which a data frame reads as a bool.
    """
    spellings = [
        {b"true": spell(b"true"), b"false": spell(b"false"), b"": b""}
        for spell in (bytes, bytes.title, bytes.upper)
    ]
    for spelling in spellings:
        pair = np.array([spelling[b"true"], spelling[b"false"]], object)
        if (_looked_up(feature, lookups, pair) >= feature.first_id).any():
            return [spelling[text] for text in words]
    return words


def _text(word):
    """Returns the text of an array's only value, or None if it has none."""
    try:
        return texts(word)[0].as_py()
    except InvalidValue:
        return None


def _integer(text: bytes) -> int | None:
    """Returns the integer in a decimal text, or None if beyond int64."""
    if not _INTEGER.fullmatch(text.decode("utf-8", "replace")):
        return None
    number = int(text)
    return number if _INT64.min <= number <= _INT64.max else None


def _integers(words):
    """Returns numbers as int64, which of them fit, and which are missing."""
    kind = words.type
    if pa.types.is_decimal(kind):
        most = _INT64.max
        decimals = words.to_pylist()
        fits = np.array(
            [n == int(n) and abs(n) <= most for n in decimals], bool
        )
        integers = [
            int(n) if fit else 0 for n, fit in zip(decimals, fits, strict=True)
        ]
        return np.array(integers, np.int64), fits, np.zeros(len(words), bool)
    numbers = words.to_numpy(zero_copy_only=False)
    missing = np.zeros(len(numbers), bool)
    if pa.types.is_floating(kind):
        numbers, missing = numbers.astype(np.float64), np.isnan(numbers)
        numbers = np.where(missing, 0.0, numbers)
        fits = np.floor(numbers) == numbers
        fits &= np.abs(numbers) < EXACT[kind.bit_width]
    else:
        fits = numbers <= _INT64.max
    return np.where(fits, numbers, 0).astype(np.int64), fits, missing


def encode_lists(array: pa.Array, encode, weighted: bool) -> pa.Array:
    """Returns a list array whose values are ids; null lists become empty.

    Args:
        array: lists of raw values.
        encode: function from an array of raw values to ids.
        weighted: whether each value has a weight; missing values are dropped
            only if not.
    """
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    lengths = lengths.to_numpy(zero_copy_only=False)
    ids = encode(array.flatten())
    if not weighted:
        kept = pc.fill_null(pc.not_equal(ids, PADDING_ID), False)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        rows = rows[kept.to_numpy(zero_copy_only=False)]
        lengths = np.bincount(rows, minlength=len(lengths))
        ids = ids.filter(kept)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), ids)


def _looked_up(feature, lookups, values) -> np.ndarray:
    if not len(values):
        return np.empty(0, np.int32)
    return lookups.ids(feature, tf.constant(values)).numpy().astype(np.int32)
