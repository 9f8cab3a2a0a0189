"""Converts in-memory rows of many forms to an Arrow table."""

import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wukong_tf.errors import DataError
from wukong_tf.names import alike

WHERE = "rows"  # origin of the rows in errors
_FORMS = (
    "a dict of columns, a list of dicts, an Arrow table or record batch, a "
    "pandas or polars frame, or another object with `__arrow_c_stream__`"
)
_MOST = 2**63 - 1
_BROKEN = (pa.ArrowException, OverflowError, TypeError, ValueError)


def table_of(
    rows: Any,
    names: Sequence[str],
    lists: Collection[str] = (),
    numbers: Collection[str] = (),
) -> pa.Table:
    """Returns the named columns of rows as an Arrow table.

    Args:
        rows: a dict of column name to arrays, lists or Arrow arrays; a list
            of dicts; an Arrow table or record batch; a pandas or polars
            frame; or any object with `__arrow_c_stream__`. None and NaN are
            missing values.
        names: the columns to return; others are ignored.
        lists: columns whose rows are lists; others may also have the shape
            [N, 1]. Defaults to (), none.
        numbers: columns of floats or of lists of floats, in which integers
            beyond 64 bits become floats. Defaults to (), none.

    Raises:
        DataError: a column is missing or has another length, or a value fits no
            Arrow type; names the columns, or the column and row.
    """
    columns = _columns(rows)
    _check_names(list(columns.keys()), names)
    arrays = {
        name: _array(name, columns[name], name in lists, name in numbers)
        for name in names
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    for name, length in lengths.items():
        if length != lengths[names[0]]:
            raise DataError(
                f"{WHERE}: column {name!r} has {length} rows, and "
                f"{names[0]!r} has {lengths[names[0]]}."
            )
    return pa.table(arrays)


def odd_row(
    rows: Any, name: str, fits: Callable[[pa.DataType], bool]
) -> tuple[int, Any] | None:
    """Returns the first row whose value in a column has an invalid type.

    Args:
        rows: rows as in `table_of`.
        name: column name.
        fits: returns whether an Arrow type is valid for the column.

    Returns:
        The row, from 0, and its value; None if all values have one type, as in
        an array.
    """
    if not isinstance(rows, Mapping | list | tuple):
        return None  # such as a stream, which is read only once
    values = _columns(rows)[name]
    if not isinstance(values, list | tuple):
        return None
    for row, value in enumerate(values):
        try:
            kind = pa.array([value], from_pandas=True).type
        except _BROKEN:
            return row, value
        beyond = isinstance(value, int) and value > _MOST
        if beyond or not (pa.types.is_null(kind) or fits(kind)):
            return row, value
    return None


def shown(value: Any) -> str:
    """Returns a value as text for an error."""
    try:
        return repr(value)
    except ValueError:  # more digits than Python writes
        return "an integer of thousands of digits"


def _columns(rows) -> Any:
    """Returns the rows as an object with `keys` and columns by name."""
    if isinstance(rows, Mapping):
        return rows
    if isinstance(rows, pa.Table | pa.RecordBatch):
        return _Columns(rows.column_names, rows)
    if isinstance(rows, list | tuple) and all(
        isinstance(row, Mapping) for row in rows
    ):
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}
    # Column by column: Arrow may not support one that is not requested.
    if hasattr(rows, "columns") and hasattr(rows, "__getitem__"):
        return _Columns(list(rows.columns), rows)
    if hasattr(rows, "__arrow_c_stream__"):
        with contextlib.suppress(*_BROKEN):  # a single column
            table = pa.table(rows)
            return _Columns(table.column_names, table)
    raise DataError(f"{WHERE}: must be {_FORMS}; received {type(rows)}.")


class _Columns:
    """Columns of a frame by name."""

    def __init__(self, names: Iterable[str], frame: Any):
        self._names, self._frame = list(names), frame

    def keys(self):
        """Returns the names of the columns, in order."""
        return self._names

    def __getitem__(self, name: str):
        try:
            return self._frame[name]
        except TypeError as error:  # polars' LazyFrame
            raise DataError(
                f"{WHERE}: must be {_FORMS}; received {type(self._frame)}, of "
                "which no column can be taken (a lazy frame has to be "
                "collected)."
            ) from error


def _check_names(there, names):
    missing = [name for name in names if name not in there]
    if missing:
        shown = ", ".join(map(repr, missing))
        raise DataError(
            f"{WHERE}: column{'s' if missing[1:] else ''} {shown} missing; "
            f"there are {', '.join(map(str, there)) or 'none'}"
            f"{alike(missing[0], there)}."
        )
    for name in names:
        if there.count(name) > 1:
            raise DataError(
                f"{WHERE}: column {name!r} stands there more than once."
            )


def _array(name, values, is_list, is_number) -> pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values
    elif isinstance(values, list | tuple):
        array = _converted(name, values, is_number)
    elif hasattr(values, "__arrow_c_stream__"):
        array = _exported(name, values)
    elif isinstance(values, str | bytes | Mapping) or not hasattr(
        values, "__array__"
    ):
        raise DataError(
            f"{WHERE}: column {name!r} must be an array or a list of rows; "
            f"received {values!r}."
        )
    else:
        array = _of_numpy(name, values, is_list)
    if isinstance(array, pa.Array):
        array = pa.chunked_array([array])
    return array


def _exported(name, values):
    """Converts a column of pandas, polars or another Arrow library."""
    try:
        return pa.chunked_array(values)
    except _BROKEN:
        return _converted(name, list(values))


def _of_numpy(name, values, is_list):
    """Converts a NumPy array or an array-like, such as a pandas column."""
    shape = np.shape(values)
    if len(shape) == 2 and not is_list and shape[1] == 1:
        values, shape = np.asanyarray(values)[:, 0], shape[:1]
    if len(shape) == 1:
        if type(values).__module__.partition(".")[0] not in ("numpy", "pandas"):
            values = np.asarray(values)
        return _converted(name, values)
    if len(shape) != 2:
        raise DataError(
            f"{WHERE}: column {name!r} must have the shape [N] or [N, size]; "
            f"received {list(shape)}."
        )
    # `asanyarray` keeps the mask of a masked array.
    flat = _converted(name, np.asanyarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, shape[1])


def _converted(name, values, is_number=False):
    try:
        array = pa.array(values, from_pandas=True)
        row = _flag_among_numbers(values, array.type)
        if row is None:
            return array
        raise TypeError("true and false are no numbers")
    except _BROKEN as error:
        other = _floats(values) if is_number else _mixed(values)
        if other is not None:
            return other
        row, value = _broken(values)
        flag = _flag_among_numbers(values, pa.float64())
        if flag is not None and flag < row:
            row, value = flag, values[flag]
        rule = "a value of the type of the rows before it"
        if isinstance(error, UnicodeEncodeError):
            rule = "text that UTF-8 can hold"
        raise DataError(
            f"{WHERE}: row {row} (from 0), column {name!r}: must be {rule}; "
            f"received {shown(value)} ({' '.join(str(error).split())})."
        ) from error


def _flag_among_numbers(values, kind):
    """Returns the row of the first bool, which Arrow makes 1 or 0, or None."""
    inner = kind.value_type if hasattr(kind, "value_type") else kind
    of = getattr(getattr(values, "dtype", None), "kind", "O")
    if not pa.types.is_floating(inner) or of != "O":
        return None
    for row, value in enumerate(values):
        each = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(v, bool | np.bool_) for v in each):
            return row
    return None


def _floats(values):
    """Returns numbers, some beyond 64 bits, as floats, or None for others."""
    wide = [
        [_float(each) for each in value]
        if isinstance(value, list | tuple)
        else _float(value)
        for value in values
    ]
    try:
        array = pa.array(wide, from_pandas=True)
    except _BROKEN:
        return None
    return None if _flag_among_numbers(wide, array.type) is not None else array


def _float(value):
    if not isinstance(value, int) or abs(value) <= _MOST:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _mixed(values):
    """Returns texts of mixed strings and integers, or None for others."""
    texts: list[str | None] = []
    for value in values:
        if _is_gap(value):
            texts.append(None)
        elif isinstance(value, str) and _is_utf8(value):
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


def _is_utf8(text):
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _is_gap(value):
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
        except _BROKEN:
            breaks = middle
    return breaks - 1, values[breaks - 1]
