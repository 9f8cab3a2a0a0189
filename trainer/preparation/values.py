"""Converts raw columns to the values that are counted and encoded."""

import contextlib
import math
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation.columns import MISSING_INTEGER, Column
from trainer.preparation.reading import refuse
from trainer.preparation.shards import Shard
from wukong_tf.arrow import lists, times
from wukong_tf.arrow import numbers as arrow_numbers
from wukong_tf.arrow import texts as arrow_texts
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.plain import is_time, plain_array
from wukong_tf.config.features import LARGEST_NUMBER, NUMBER_RANGE
from wukong_tf.errors import DataError

# Default format of the times of "hour", "weekday" and "weekend".
YYMMDDHH = "%y%m%d%H"


def texts(shard: Shard, table: pa.Table, column: Column) -> pa.Array:
    """Returns a categorical column as strings [N], or as lists of strings.

    A missing value is an empty string, or dropped from a list.

    Raises:
        DataError: a value breaks the column's rule.
    """
    with _reported(shard, table, column.column):
        raw = table[column.column]
        if shard.layout is not None and shard.layout.strip:
            raw = _stripped(plain_array(raw), shard.layout.strip)
        return bags_of(raw, column) if column.is_bag else texts_of(raw, column)


def numbers(shard: Shard, table: pa.Table, column: Column) -> np.ndarray:
    """Returns a numeric column as float64 [N]; NaN for a missing number.

    Raises:
        DataError: a value is not a number, or outside the allowed range.
    """
    with _reported(shard, table, column.column):
        return numbers_of(table[column.column], column)


def vectors(shard: Shard, table: pa.Table, column: Column) -> np.ndarray:
    """Returns the vectors that the rows hold, float32 [N, size].

    Raises:
        DataError: a vector has another length or an invalid number.
    """
    with _reported(shard, table, column.column):
        return vectors_of(table[column.column], column)


@contextlib.contextmanager
def _reported(shard, table, name):
    """Turns errors of values and types into a DataError that names the row."""
    try:
        yield
    except InvalidValue as error:
        refuse(shard, table, error.row, name, error.rule, error.value)
    except UnsupportedType as error:
        raise DataError(f"{shard.path}: column {name!r} is {error}.") from error


def texts_of(array: pa.ChunkedArray, column: Column) -> pa.Array:
    """Returns the values of a categorical column as strings [N].

    Args:
        array: the raw column.
        column: the feature to make of it, which is not a bag.

    Raises:
        InvalidValue: a value breaks the column's rule.
        UnsupportedType: values of this type cannot be read.
    """
    if column.rule in times.PARTS:
        return _parts_of_times(array, column)
    values = arrow_texts.texts(array, _missing(column))
    change = _RULES.get(column.rule)
    if change is None:
        return _integers(values, array.type, column)
    # Applies the rule once to each distinct value.
    encoded = values.dictionary_encode()
    changed = []
    for value in encoded.dictionary.to_pylist():
        try:
            changed.append(change(value) if value else "")
        except ValueError as error:
            row = pc.index(values, value).as_py()
            raise InvalidValue(row, str(error), value) from error
    values = pa.array(changed, pa.string()).take(encoded.indices)
    return _integers(values, array.type, column)


def bags_of(array: pa.ChunkedArray, column: Column) -> pa.Array:
    """Returns lists of each row's values that are not missing.

    Args and errors are those of `texts_of`, for a bag.
    """
    rows, flat = lists.list_texts(
        array, column.separator, column.format, _missing(column)
    )
    try:
        flat = _integers(flat, array.type, column)
    except InvalidValue as error:
        row = int(rows[error.row])
        raise InvalidValue(row, error.rule, error.value) from error
    return _lists(np.bincount(rows, minlength=len(array)), flat)


def cut(texts: pa.Array, column: Column) -> tuple[pa.Array, int]:
    """Returns a column with long bags cut, and the number of cut bags.

    Bags keep their first `longest` values, as in the trainer and the server;
    other columns are unchanged.

    Args:
        texts: the result of `texts`.
        column: the column.
    """
    if not column.is_bag:
        return texts, 0
    lengths = pc.list_value_length(texts).to_numpy(zero_copy_only=False)
    longest = column.longest or 0
    bags_cut = int((lengths > longest).sum())
    if not bags_cut:
        return texts, 0
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    keeps = np.arange(len(starts)) - starts < longest
    flat = texts.flatten().filter(pa.array(keeps))
    return _lists(np.minimum(lengths, longest), flat), bags_cut


def _lists(lengths, flat):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _missing(column):
    if column.raw != "int64":
        return column.missing_values
    return (*column.missing_values, str(MISSING_INTEGER))


def _integers(values, kind, column):
    """Returns `values`; raises InvalidValue unless int64 if `raw` is so."""
    kind = getattr(kind, "value_type", kind)
    exact = pa.types.is_signed_integer(kind) or pa.types.is_floating(kind)
    if column.raw != "int64" or exact:
        return values
    for value in values.unique().to_pylist():
        if value and not _is_int64(value):
            row = pc.index(values, value).as_py()
            raise InvalidValue(
                row,
                "a 64-bit integer without leading zeros, because of "
                '`"raw": "int64"`, or empty',
                value,
            )
    return values


def _is_int64(text):
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        return False
    return str(int(text)) == text and -(2**63) < int(text) < 2**63


def vectors_of(array: pa.ChunkedArray, column: Column) -> np.ndarray:
    """Returns the vectors of a column, float32 [N, size].

    Args and errors are those of `texts_of`, for a vector.
    """
    rows = lists.vectors(array, column.size, column.separator, column.format)
    beyond = (np.abs(rows) > LARGEST_NUMBER).any(axis=1)
    _refuse_first(array, beyond, f"{column.size} numbers {NUMBER_RANGE}")
    return rows


def numbers_of(array: pa.ChunkedArray, column: Column) -> np.ndarray:
    """Returns the values of a numeric column as float64 [N]; NaN for none.

    Args and errors are those of `texts_of`, for a number.
    """
    if column.rule == "age_in_days":
        return times.ages(
            _without(array, column.missing_values),
            column.reference or "",
            column.format,
            column.time_zone,
        )
    values = arrow_numbers.numbers(array, column.missing_values)
    beyond = np.abs(values.astype(np.float32)) > LARGEST_NUMBER
    _refuse_first(array, beyond, f"a number {NUMBER_RANGE}, or empty")
    return values


def _refuse_first(array, bad, rule):
    if bad.any():
        row = int(np.argmax(bad))
        raise InvalidValue(row, rule, plain_array(array)[row].as_py())


def _parts_of_times(array, column):
    array = _without(array, column.missing_values)
    form = column.format
    if form is None and not is_time(array.type):
        form = YYMMDDHH
    part = times.PARTS[column.rule](array, form, column.time_zone)
    parts = pc.fill_null(part.cast(pa.string()), "")
    if column.rule != "hour":
        return parts
    # Two digits, as written by strftime.
    short = pc.equal(pc.binary_length(parts), 1)
    return pc.if_else(short, pc.utf8_lpad(parts, 2, "0"), parts)


def _without(array, missing):
    """Returns the plain array with the texts of missing values as nulls."""
    values = plain_array(array)
    if not missing:
        return values
    words = arrow_texts.texts(values)
    missing_rows = pc.is_in(
        words, value_set=pa.array(list(missing), pa.string())
    )
    return pc.if_else(missing_rows, None, values)


def _stripped(values, strip):
    good = pc.fill_null(pc.match_substring_regex(values, f"{strip}$"), False)
    if not pc.all(good).as_py() and len(values):
        row = pc.index(good, False).as_py()
        raise InvalidValue(row, "INDEX:1", values[row].as_py())
    return pc.replace_substring_regex(values, f"{strip}$", "")


_INTEGER = re.compile("[+-]?[0-9]+")


def _digits(value):
    if not value.isascii() or not value.isdigit():
        raise ValueError("an integer of at least 0, or empty")
    return value


def _integer(value):
    if not _INTEGER.fullmatch(value.strip(" ")):
        raise ValueError("an integer, or empty")
    return int(value)


def _log2(value):
    number = _integer(value)
    return str(number.bit_length() - 1 if number > 2 else number)


def _squared_log(value):
    number = _integer(value)
    return str(int(math.log(number) ** 2) if number > 2 else number)


_RULES: dict[str, Callable[[str], str]] = {
    "digits": _digits,
    "log2": _log2,
    "squared_log": _squared_log,
}
