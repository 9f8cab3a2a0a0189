"""Raw columns as the values that are counted and encoded."""

import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation.columns import Column, Recipe
from trainer.preparation.shards import Shard, refuse


def labels(shard: Shard, table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Labels, int8 [N].

    Raises:
        DataError: a label is none that stands for 0 or 1.
    """
    values = table[recipe.label].combine_chunks()
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_floating(values.type):
        whole = pc.floor(values).cast(pa.int64(), safe=False)
        values = pc.if_else(pc.equal(whole, values), whole, None)
    values = values.cast(pa.string())
    known = (*recipe.negatives, *recipe.positives)
    place = pc.index_in(values, value_set=pa.array(known))
    if place.null_count:
        row = int(np.argmax(pc.is_null(place).to_numpy(zero_copy_only=False)))
        raw = table[recipe.label][row].as_py()
        refuse(
            shard, table, row, recipe.label, f"one of {', '.join(known)}", raw
        )
    ones = place.to_numpy() >= len(recipe.negatives)
    return ones.astype(np.int8)


def texts(shard: Shard, table: pa.Table, column: Column) -> pa.Array:
    """Values of a categorical column: strings [N], or lists of strings.

    What is missing is an empty string, or left out of a list.

    Raises:
        DataError: a value breaks the column's rule.
    """
    values = table[column.column].combine_chunks()
    if column.is_bag:
        return _bag(values, column)
    values = _as_text(values)
    if shard.layout is not None and shard.layout.strip:
        values = _stripped(shard, table, column, values)
    change = _RULES[column.rule]
    if change is None:
        return values
    # Each distinct value is changed once.
    encoded = values.dictionary_encode()
    changed = []
    for value in encoded.dictionary.to_pylist():
        try:
            changed.append(change(value) if value else "")
        except ValueError as error:
            row = pc.index(values, value).as_py()
            refuse(shard, table, row, column.column, str(error), value)
    return pa.array(changed, pa.string()).take(encoded.indices)


def _as_text(values):
    if pa.types.is_floating(values.type):
        # An id column with gaps, as some writers make it.
        whole = pc.floor(values).cast(pa.int64(), safe=False)
        same = pc.fill_null(pc.equal(whole, values), True)
        if pc.all(same).as_py():
            values = whole
    return pc.fill_null(values.cast(pa.string()), "")


def _stripped(shard, table, column, values):
    good = pc.match_substring_regex(values, f"{shard.layout.strip}$")
    if not pc.all(good).as_py():
        row = pc.index(good, False).as_py()
        refuse(
            shard,
            table,
            row,
            column.column,
            "INDEX:1",
            values[row].as_py(),
        )
    return pc.replace_substring_regex(values, f"{shard.layout.strip}$", "")


def _bag(values, column):
    """Lists of the last values that are there, at most `longest`."""
    if column.separator is not None:
        values = pc.split_pattern(_as_text(values), column.separator)
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    flat = _as_text(values.flatten())
    there = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(lengths)), lengths)[there]
    flat = flat.filter(pa.array(there))
    lengths = np.bincount(row, minlength=len(lengths))
    ends = np.cumsum(lengths)
    from_end = np.repeat(ends, lengths) - np.arange(len(row))
    kept = from_end <= column.longest
    lengths = np.minimum(lengths, column.longest)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), flat.filter(pa.array(kept))
    )


def numbers(shard: Shard, table: pa.Table, column: Column) -> np.ndarray:
    """Numbers, float64 [N]; NaN where one is missing.

    Raises:
        DataError: a value is no number, or not finite in float32.
    """
    values = table[column.column].combine_chunks()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        empty = pc.equal(trimmed, "")
        trimmed = pc.if_else(empty, None, trimmed)
        try:
            values = trimmed.cast(pa.float64())
        except pa.ArrowInvalid:
            for row, text in enumerate(trimmed.to_pylist()):
                try:
                    float(text or 0)
                except ValueError:
                    refuse(shard, table, row, column.column, "a number", text)
            raise
    values = values.cast(pa.float64(), safe=False)
    gaps = pc.is_null(values).to_numpy(zero_copy_only=False)
    found = pc.fill_null(values, 0.0).to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(found.astype(np.float32))
    if not finite.all():
        row = int(np.argmin(finite))
        refuse(
            shard,
            table,
            row,
            column.column,
            "a finite float32, or empty",
            table[column.column][row].as_py(),
        )
    return np.where(gaps, np.nan, found)


def vectors(shard: Shard, table: pa.Table, column: Column) -> np.ndarray:
    """Vectors that stand in the rows, float32 [N, size].

    Raises:
        DataError: a vector has another length or holds what is no number.
    """
    values = table[column.column].combine_chunks()
    rule = f"{column.size} finite numbers"
    if column.separator is not None:
        values = pc.split_pattern(_as_text(values), column.separator)
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
    wrong = lengths != column.size
    if wrong.any():
        row = int(np.argmax(wrong))
        refuse(
            shard,
            table,
            row,
            column.column,
            rule,
            table[column.column][row].as_py(),
        )
    try:
        flat = values.flatten().cast(pa.float32(), safe=False)
        found = pc.fill_null(flat, float("nan")).to_numpy()
    except pa.ArrowInvalid:
        found = np.array([_float(v) for v in values.flatten().to_pylist()])
    found = found.reshape(-1, column.size).astype(np.float32)
    good = np.isfinite(found).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raw = table[column.column][row].as_py()
        refuse(shard, table, row, column.column, rule, raw)
    return found


def _float(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _digits(value):
    if not value.isascii() or not value.isdigit():
        raise ValueError("an integer of at least 0, or empty")
    return value


def _integer(value):
    try:
        return int(value)
    except ValueError:
        raise ValueError("an integer, or empty") from None


def _log2(value):
    number = _integer(value)
    return str(number.bit_length() - 1 if number > 2 else number)


def _squared_log(value):
    number = _integer(value)
    return str(int(math.log(number) ** 2) if number > 2 else number)


def _time(value):
    import datetime

    try:
        return datetime.datetime.strptime(value, "%y%m%d%H")
    except ValueError:
        raise ValueError("a time YYMMDDHH, or empty") from None


def _hour(value):
    return f"{_time(value):%H}"


def _weekday(value):
    return f"{_time(value):%w}"


def _weekend(value):
    return str(int(f"{_time(value):%w}" in "06"))


_RULES: dict[str, Callable[[str], str] | None] = {
    "text": None,
    "digits": _digits,
    "log2": _log2,
    "squared_log": _squared_log,
    "hour": _hour,
    "weekday": _weekday,
    "weekend": _weekend,
}
