"""Converts in-memory rows of many forms to an Arrow table."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from wukong_tf.errors import DataError
from wukong_tf.rows.conversion import BROKEN, LARGEST, to_arrow
from wukong_tf.rows.schemas import check_names

WHERE = "rows"  # origin of the rows in errors
_FORMS = (
    "a dict of columns, a list of dicts, an Arrow table or record batch, a "
    "pandas or polars frame, or another object with `__arrow_c_stream__`"
)


def table_from_rows(
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
    check_names(WHERE, list(columns.keys()), names)
    arrays = {
        name: to_arrow(
            WHERE, name, columns[name], name in lists, name in numbers
        )
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


def invalid_row(
    rows: Any, name: str, fits: Callable[[pa.DataType], bool]
) -> tuple[int, Any] | None:
    """Returns the first row whose value in a column has an invalid type.

    Args:
        rows: rows as in `table_from_rows`.
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
        except BROKEN:
            return row, value
        too_large = isinstance(value, int) and value > LARGEST
        if too_large or not (pa.types.is_null(kind) or fits(kind)):
            return row, value
    return None


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
        with contextlib.suppress(*BROKEN):  # a single column
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
                f"{WHERE}: must be {_FORMS}; received {type(self._frame)}, "
                "whose columns cannot be read; collect a lazy frame first."
            ) from error
