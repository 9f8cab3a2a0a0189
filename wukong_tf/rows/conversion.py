"""Converts one in-memory column of many forms to an Arrow array."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from wukong_tf.arrow.texts import is_utf8
from wukong_tf.errors import DataError

LARGEST = 2**63 - 1  # of int64
# Errors of Arrow for values that fit no type.
BROKEN = (pa.ArrowException, OverflowError, TypeError, ValueError)


def to_arrow(
    where: str, name: str, values: Any, is_list: bool, is_number: bool
) -> pa.ChunkedArray:
    """Converts the values of one column.

    Args:
        where: origin of the rows in errors.
        name: column name.
        values: Arrow array, list, or array of NumPy, pandas, polars or another
            library.
        is_list: whether a row is a list; other rows may also have the shape
            [N, 1].
        is_number: whether integers beyond 64 bits become floats.

    Raises:
        DataError: a value fits no Arrow type; names column and row.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values
    elif isinstance(values, list | tuple):
        array = _converted(where, name, values, is_number)
    elif hasattr(values, "__arrow_c_stream__"):
        array = _exported(where, name, values)
    elif isinstance(values, str | bytes | Mapping) or not hasattr(
        values, "__array__"
    ):
        raise DataError(
            f"{where}: column {name!r} must be an array or a list of rows; "
            f"received {values!r}."
        )
    else:
        array = _array_like(where, name, values, is_list)
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    return array


def _exported(where, name, values):
    """Converts a column of pandas, polars or another Arrow library."""
    try:
        return pa.chunked_array(values)
    except BROKEN:
        return _converted(where, name, list(values))


def _array_like(where, name, values, is_list):
    """Converts a NumPy array or an array-like, such as a pandas column."""
    shape = np.shape(values)
    if len(shape) == 2 and not is_list and shape[1] == 1:
        values, shape = np.asanyarray(values)[:, 0], shape[:1]
    if len(shape) == 1:
        if type(values).__module__.partition(".")[0] not in ("numpy", "pandas"):
            values = np.asarray(values)
        return _converted(where, name, values)
    if len(shape) != 2:
        raise DataError(
            f"{where}: column {name!r} must have the shape [N] or [N, size]; "
            f"received {list(shape)}."
        )
    # `asanyarray` keeps the mask of a masked array.
    flat = _converted(where, name, np.asanyarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, shape[1])


def _converted(where, name, values, is_number=False):
    try:
        array = pa.array(values, from_pandas=True)
        row = _flag_among_numbers(values, array.type)
        if row is None:
            return array
        raise TypeError("booleans are not numbers")
    except BROKEN as error:
        other = _floats(values) if is_number else _mixed(values)
        if other is not None:
            return other
        row, value = _broken(values)
        flag = _flag_among_numbers(values, pa.float64())
        if flag is not None and flag < row:
            row, value = flag, values[flag]
        rule = "a value of the same type as in the rows before"
        if isinstance(error, UnicodeEncodeError):
            rule = "text that UTF-8 can encode"
        raise DataError(
            f"{where}: row {row} (from 0), column {name!r}: must be {rule}; "
            f"received {shown(value)} ({' '.join(str(error).split())})."
        ) from error


def _flag_among_numbers(values, kind):
    """Returns the row of the first bool, which Arrow makes 1 or 0, or None."""
    inner = kind.value_type if hasattr(kind, "value_type") else kind
    numpy_kind = getattr(getattr(values, "dtype", None), "kind", "O")
    if not pa.types.is_floating(inner) or numpy_kind != "O":
        return None
    for row, value in enumerate(values):
        items = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(item, bool | np.bool_) for item in items):
            return row
    return None


def _floats(values):
    """Returns numbers, some beyond 64 bits, as floats, or None for others."""
    wide = [
        [_float(item) for item in value]
        if isinstance(value, list | tuple)
        else _float(value)
        for value in values
    ]
    try:
        array = pa.array(wide, from_pandas=True)
    except BROKEN:
        return None
    return None if _flag_among_numbers(wide, array.type) is not None else array


def _float(value):
    if not isinstance(value, int) or abs(value) <= LARGEST:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _mixed(values):
    """Returns texts of mixed strings and integers, or None for others."""
    texts: list[str | None] = []
    for value in values:
        if _is_missing(value):
            texts.append(None)
        elif isinstance(value, str) and is_utf8(value):
            texts.append(value)
        elif isinstance(value, int | np.integer) and not isinstance(
            value, bool
        ):
            try:
                texts.append(str(int(value)))
            except ValueError:  # more digits than Python writes
                return None
        else:
            return None
    return pa.array(texts, pa.string())


def _is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def _broken(values):
    """Returns the first row that does not fit those before, and its value."""
    values = list(values)
    fits, breaks = 0, len(values)
    while breaks - fits > 1:
        middle = (fits + breaks) // 2
        try:
            pa.array(values[:middle], from_pandas=True)
            fits = middle
        except BROKEN:
            breaks = middle
    return breaks - 1, values[breaks - 1]


def shown(value: Any) -> str:
    """Returns a value as text for an error."""
    try:
        return repr(value)
    except ValueError:  # more digits than Python writes
        return "an integer of thousands of digits"
