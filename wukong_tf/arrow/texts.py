"""Raw values as the texts of vocabularies."""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.plain import is_text, plain_array

_TYPES = pa.types
# By bits of a float, the integers below which are exact, and to which no other
# integer is rounded.
EXACT = {16: 2**11, 32: 2**24, 64: 2**53}


def texts(
    array: pa.Array | pa.ChunkedArray, missing: Collection[str] = ()
) -> pa.Array:
    """Returns ids as strings [N]; "" for a missing one.

    An integer becomes its decimal text, whatever its type; a float or a decimal
    must be a whole number. A bool becomes "true" or "false", a date or
    timestamp its ISO 8601 text, and bytes are decoded as UTF-8.

    Args:
        array: the column. A null, a NaN and an empty text are missing.
        missing: texts that are missing values too. Defaults to none.

    Raises:
        InvalidValue: a float may not be an exact integer, or bytes are not
            UTF-8.
        UnsupportedType: the column holds durations, lists or no scalars.
    """
    values = plain_array(array)
    kind = values.type
    if _TYPES.is_null(kind):
        return pa.array([""] * len(values), pa.string())
    if _TYPES.is_duration(kind) or _TYPES.is_nested(kind):
        raise UnsupportedType(f"{kind}, which cannot be a category")
    if _TYPES.is_floating(kind):
        values = _whole_floats(values, EXACT[_bits(array.type)])
    elif _TYPES.is_decimal(kind):
        values = _whole_decimals(values)
    elif is_text(kind):
        values = utf8(values)
    ids = pc.fill_null(values.cast(pa.string()), "")
    if missing:
        is_missing = pc.is_in(
            ids, value_set=pa.array(list(missing), pa.string())
        )
        ids = pc.if_else(is_missing, "", ids)
    return ids


def utf8(values: pa.Array) -> pa.Array:
    """Returns strings or bytes as strings.

    Raises:
        InvalidValue: bytes are not UTF-8 text.
    """
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        for row, value in enumerate(values.cast(pa.large_binary()).to_pylist()):
            try:
                (value or b"").decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidValue(
                    row, "UTF-8 text (this may be Latin-1 or bytes)", value
                ) from error
        raise


def is_utf8(text: str) -> bool:
    """Returns whether UTF-8 can encode a text: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bits(kind):
    """Returns the bits of a column's floats, in its original type."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if _TYPES.is_dictionary(kind) or _TYPES.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind.bit_width


def _whole_floats(values, most):
    """Converts floats to integers; NaN becomes null."""
    floats = values.cast(pa.float64())
    numbers = pc.fill_null(floats, np.nan).to_numpy(zero_copy_only=False)
    missing = np.isnan(numbers)
    filled = np.where(missing, 0.0, numbers)
    good = (np.floor(filled) == filled) & (np.abs(filled) < most)
    if not good.all():
        row = int(np.argmin(good))
        power = most.bit_length() - 1
        raise InvalidValue(
            row,
            f"an id: text or an integer (below 2^{power} in {values.type}, as "
            "larger ones are not exact)",
            numbers[row].item(),
        )
    return pa.array(filled.astype(np.int64), mask=missing)


def _whole_decimals(values):
    """Converts decimals to texts of integers."""
    if values.type.scale <= 0:
        kind = pa.decimal256(76, 0)
        return values.cast(kind).cast(pa.string())
    digits = values.cast(pa.string())
    # A zero of many digits is written as 0E-10.
    digits = pc.replace_substring_regex(digits, r"^0E-[0-9]+$", "0.0")
    whole = pc.fill_null(pc.match_substring_regex(digits, r"\.0*$"), True)
    if not pc.all(whole).as_py() and len(whole):
        row = pc.index(whole, False).as_py()
        raise InvalidValue(
            row, "an id: text or an integer", digits[row].as_py()
        )
    return pc.replace_substring_regex(digits, r"\.0*$", "")
