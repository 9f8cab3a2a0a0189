"""The groups of a grouped AUC, an int64 for each raw value."""

import hashlib
import re

import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.plain import is_text, plain_array
from wukong_tf.arrow.texts import texts

MISSING_GROUP = -(2**63)
# Integers below are their own group, and hashes start here.
_FIRST_HASH = 2**62
_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")


def groups(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Returns the group of each raw value, int64 [N]; equal for equal values.

    An integer is its own group, in any type and as text; another text is a
    62-bit hash, equal in every file and process: two of a million texts collide
    in one of ten million data sets. Missing values, a null, a NaN and an empty
    text, are one group.

    Raises:
        UnsupportedType: the column holds durations, lists or no scalars.
    """
    values = plain_array(array)
    if pa.types.is_floating(values.type):
        floats = values.cast(pa.float64())
        known = pc.fill_null(pc.invert(pc.is_nan(floats)), False)
        whole = pc.and_(
            pc.equal(pc.floor(floats), floats),
            pc.less(pc.abs(floats), 2.0**62),
        )
        whole = pc.fill_null(whole, False)
        # The text of a large float has an exponent.
        integers = pc.if_else(whole, floats, 0.0).cast(pa.int64())
        values = pc.if_else(
            whole, integers.cast(pa.string()), floats.cast(pa.string())
        )
        values = pc.if_else(known, values, "")
    elif not is_text(values.type):
        values = texts(array)
    encoded = pc.fill_null(values.cast(pa.large_binary()), b"")
    encoded = encoded.dictionary_encode()
    ids = [_group(word) for word in encoded.dictionary.to_pylist()]
    return pa.array(ids, pa.int64()).take(encoded.indices)


def _group(word: bytes) -> int:
    if not word:
        return MISSING_GROUP
    if _INTEGER.fullmatch(word) and abs(int(word)) < _FIRST_HASH:
        return int(word)
    digest = hashlib.blake2b(word, digest_size=8).digest()
    return _FIRST_HASH | int.from_bytes(digest) >> 2
