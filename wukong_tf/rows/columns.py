"""Converts Arrow columns of a click log to validated NumPy arrays."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.plain import is_list, plain_array
from wukong_tf.config import FeatureSpec
from wukong_tf.rows import Batch, bags, raw_values
from wukong_tf.rows.bad_values import REFUSE, BadValues
from wukong_tf.rows.checks import Check


def read(
    where: str,
    first_row: int,
    array: pa.ChunkedArray,
    check: Check,
    bad: BadValues = REFUSE,
) -> np.ndarray:
    """Returns the column as [N], or [N, size], of the check's dtype.

    Args:
        where: names the file in errors.
        first_row: number, in that file, of the array's first row.
        array: the column.
        check: its rule.
        bad: receives rows that have no value or one that breaks the rule.
            Defaults to an error for the first.

    Raises:
        DataError: raised by `bad`; names file, row, column, rule and value.
    """
    whole = _numbers(plain_array(array), check)

    def report(faults, value):
        row = int(np.argmax(faults))
        bad.found(
            where,
            first_row + row,
            check.name,
            check.rule,
            _text(value(row)),
            int(faults.sum()),
        )

    if check.max_size is not None:
        return _read_lists(whole, check, report)
    if check.size is not None:
        return _read_vectors(whole, check, report)
    return _read_values(whole, check, report)


def _numbers(array, check):
    """Converts decimals to floats, and all-null columns to a typed array."""
    kind = array.type
    if is_list(kind):
        inner = kind.value_type
        odd = pa.types.is_decimal(inner) or pa.types.is_null(inner)
        if odd and check.encode is None:
            return array.cast(pa.large_list(_number_type(inner)))
    elif pa.types.is_null(kind):
        if check.max_size is not None or check.size is not None:
            return array.cast(pa.large_list(pa.int64()))
        return array if check.encode else array.cast(pa.float64())
    elif pa.types.is_decimal(kind) and check.encode is None:
        return array.cast(pa.float64())
    return array


def _number_type(kind):
    return pa.float64() if pa.types.is_decimal(kind) else pa.int64()


def _read_values(array, check, report):
    """Reads single values as [N]."""
    nulls, logged = None, array
    if check.encode is not None:
        array = check.encode(array)
        if pa.types.is_null(array.type):
            array = array.cast(pa.int64())
        if check.missing is not None:
            array = pc.fill_null(array, check.missing)
    if pa.types.is_float16(array.type) and array.null_count:
        array = array.cast(pa.float32())
    if check.may_be_null:
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.int8())
        array = array.cast(pa.float64(), safe=False)
    elif array.null_count:
        nulls = _null(array)
        array = pc.fill_null(array, pa.scalar(0).cast(array.type))
    raw = array.to_numpy(zero_copy_only=False)
    values = _cast(raw, check.dtype)
    # Checks the original values too: a cast may wrap them into range.
    good = check.holds(raw) & check.holds(values)
    if nulls is not None:
        good &= ~nulls
    if good.all():
        return values

    def shown(row):
        if nulls is not None and nulls[row]:
            return "no value"
        return raw[row] if check.encode is None else repr(logged[row].as_py())

    report(~good, shown)
    values = values.copy()
    values[~good] = check.instead
    return values


def _read_lists(array, check, report):
    """Reads the first numbers of lists as [N, max_size], padded."""
    logged = array
    if check.encode is not None:
        array = raw_values.encode_lists(array, check.encode, check.weighted)
    lists = bags.padded(array, check.max_size, check.padding)
    nulls = lists.nulls.any(axis=1)
    if nulls.any():
        report(nulls, lambda row: "a list with a null")
    given = lists.given & ~lists.nulls
    values = _cast(lists.values, check.dtype)
    good = check.holds(lists.values) & check.holds(values)
    wrong = (given & ~good).any(axis=1)
    if wrong.any():

        def shown(row):
            if check.encode is not None:
                return logged[row].as_py()
            return lists.values[row][lists.given[row]]

        report(wrong, shown)
    if nulls.any() or wrong.any():
        values = np.where(given & good, values, check.dtype(check.padding))
    return values


def _read_vectors(array, check, report):
    """Reads vectors as [N, size]; an invalid one becomes zeros."""
    if _is_rectangle(array, check.size):
        raw = array.flatten().to_numpy(zero_copy_only=False)
        raw = raw.reshape(-1, check.size)
        values = _cast(raw, check.dtype)
        if (check.holds(raw) & check.holds(values)).all():
            return values
    lists = bags.padded(array, check.size, 0.0)
    null = _null(array)
    wrong = (lists.lengths != check.size) | null
    if wrong.any():
        report(
            wrong,
            lambda row: (
                "no value" if null[row] else f"{lists.lengths[row]} numbers"
            ),
        )
    nulls = lists.nulls.any(axis=1) & ~wrong
    if nulls.any():
        report(nulls, lambda row: "a vector with a null")
    values = _cast(lists.values, check.dtype)
    good = check.holds(lists.values) & check.holds(values)
    broken = ~good & ~wrong & ~nulls
    if broken.any():
        report(broken, lambda row: lists.values[row])
    invalid = wrong | nulls | broken
    if invalid.any():
        values[invalid] = check.instead
    return values


def _is_rectangle(array, size):
    """Returns whether every row of a list array has `size` numbers."""
    if array.null_count or array.flatten().null_count:
        return False
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    return bool((lengths == size).all())


def read_table(
    where: str,
    first_row: int,
    table: pa.Table,
    spec: FeatureSpec,
    rules: list[Check],
    bad: BadValues = REFUSE,
) -> Batch:
    """Reads the columns of a table, each validated by its rule.

    Args:
        where: names the file in errors.
        first_row: number, in that file, of the table's first row.
        table: the rows.
        spec: the columns.
        rules: as returned by `checks_from_spec`.
        bad: as in `read`.

    Raises:
        DataError: as in `read`.
    """
    batch = {
        check.key or check.name: read(
            where, first_row, table[check.name], check, bad
        )
        # A column with two roles is kept as the first, a feature.
        for check in reversed(rules)
    }

    def report(row, name, value, rows):
        rule = "one weight for each id of its bag"
        bad.found(where, first_row + row, name, rule, value, rows)

    bags.match_weights(spec, batch, table, report)
    return batch


def _cast(values, dtype):
    # Values beyond float32 become infinite, which the rules reject.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype)


def _null(array):
    return pc.is_null(array).to_numpy(zero_copy_only=False)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, threshold=16, max_line_width=10_000)
    return str(value)
