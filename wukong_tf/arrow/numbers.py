"""Raw values as numbers, and the grammar of a number in text."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.plain import is_number, is_text, plain_array
from wukong_tf.arrow.texts import utf8

# Digits are ASCII; number formats of other languages are invalid.
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
RULE = "a decimal number such as -1.5 or 2e3, or empty"
_NAN = "^[nN][aA][nN]$"
_NOT_FINITE = "(?i)^(nan|[+-]?inf|[+-]?infinity)$"
_TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def numbers(
    array: pa.Array | pa.ChunkedArray, missing: Collection[str] = ()
) -> np.ndarray:
    """Returns the numbers, float64 [N]; NaN for a missing one.

    Args:
        array: the column: numbers, bools, durations (in seconds), or texts that
            match `NUMBER`, apart from ASCII space around them. A null, a NaN,
            an empty text and a text "nan" are missing.
        missing: texts that are missing values too. Defaults to none.

    Raises:
        InvalidValue: a text is not a number, or a number is not finite in
            float32.
        UnsupportedType: the column holds times, lists or no scalars.
    """
    values = plain_array(array)
    kind = values.type
    if is_text(kind):
        floats = _parsed(utf8(values), missing)
    elif pa.types.is_duration(kind):
        ticks = values.cast(pa.int64()).cast(pa.float64(), safe=False)
        floats = pc.divide(ticks, _TICKS[kind.unit])
    elif is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        floats = values.cast(pa.float64(), safe=False)
    else:
        raise UnsupportedType(f"{kind}, which is not a number")
    doubles = pc.fill_null(floats, np.nan).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        infinite = np.isinf(doubles.astype(np.float32))
    if infinite.any():
        row = int(np.argmax(infinite))
        raise InvalidValue(
            row, "a finite float32, or empty", values[row].as_py()
        )
    return doubles


def _parsed(values, missing):
    """Parses texts to floats; null if missing."""
    trimmed = pc.ascii_trim_whitespace(values)
    is_missing = pc.equal(trimmed, "")
    if missing:
        words = pa.array([word.strip() for word in missing], pa.string())
        is_missing = pc.or_(is_missing, pc.is_in(trimmed, value_set=words))
    trimmed = pc.if_else(is_missing, None, trimmed)
    try:
        floats = trimmed.cast(pa.float64())
    except pa.ArrowInvalid:
        good = pc.or_(
            pc.match_substring_regex(trimmed, NUMBER),
            pc.match_substring_regex(trimmed, _NOT_FINITE),
        )
        _refuse_first(trimmed, good, RULE)
        raise
    nan = pc.is_nan(floats)
    if pc.any(nan).as_py():  # "nan(1)" and "-nan" are invalid
        good = pc.or_(pc.invert(nan), pc.match_substring_regex(trimmed, _NAN))
        _refuse_first(trimmed, good, RULE)
    return floats


def _refuse_first(values, good, rule):
    good = pc.fill_null(good, True)
    if pc.all(good).as_py() or not len(good):
        return
    row = pc.index(good, False).as_py()
    value = values[row].as_py()
    if "," in value:
        rule += " (with a decimal point, without thousands separators)"
    raise InvalidValue(row, rule, value)
