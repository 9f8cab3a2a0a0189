"""Guesses what the columns of a log are, from its first rows."""

import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation.columns import Column, Recipe
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import is_list, plain_array
from wukong_tf.errors import DataError

LABELS = ("label", "click", "clicked", "is_click", "clk", "target", "y")
LEFT_OUT = ("id", "row_id", "index")
# Of distinct values among the rows; a number with fewer is a category.
_NUMERIC_SHARE, _NUMERIC_VALUES = 0.02, 50


def infer(
    rows: pa.Table,
    *,
    label: str | None = None,
    separator: str | None = None,
    longest: int = 100,
    where: str = "the input",
) -> Recipe:
    """A recipe for a log.

    A column is a number where all its values are, some with a fraction or
    more than 50 and 2 % of the rows distinct; a bag where it holds lists or
    a `separator`; otherwise a category. A column of distinct integers named
    id, row_id or index is left out.

    Args:
        rows: its first rows.
        label: column of the label. Defaults to None, the first of label,
            click, clicked, is_click, clk, target and y.
        separator: between the values of bags. Defaults to None, no text is
            a bag.
        longest: most values in a bag. Defaults to 100.
        where: names the input in errors.

    Raises:
        DataError: there is no label, or nothing else.
    """
    names = rows.column_names
    if label is None:
        label = next((name for name in LABELS if name in names), None)
    if label is None or label not in names:
        raise DataError(
            f"{where}: no label: name its column by --label. There are "
            f"{', '.join(names)}."
        )
    columns = []
    for name in names:
        if name == label:
            continue
        try:
            values = plain_array(rows[name])
        except UnsupportedType as error:
            raise DataError(
                f"{where}: column {name!r} cannot be a feature: it is {error}; "
                "a --recipe without it leaves it out."
            ) from error
        column = _column(name, values, separator, longest)
        if column is not None:
            columns.append(column)
    if not columns:
        raise DataError(f"{where}: there is no column but the label.")
    return Recipe(tuple(columns), label)


def _column(name, values, separator, longest):
    kind = values.type
    if pa.types.is_null(kind):
        return None
    if is_list(kind):
        if pa.types.is_floating(kind.value_type):
            sizes = pc.unique(pc.list_value_length(values)).to_pylist()
            if len(sizes) == 1 and sizes[0]:
                return Column(name, "vector", size=sizes[0])
        return Column(name, longest=longest)
    if pa.types.is_float16(kind) or pa.types.is_decimal(kind):
        values, kind = values.cast(pa.float64()), pa.float64()
    distinct = pc.count_distinct(values).as_py()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if separator and pc.any(pc.match_substring(values, separator)).as_py():
            return Column(name, separator=separator, longest=longest)
        there = values.filter(pc.not_equal(pc.utf8_trim_whitespace(values), ""))
        try:
            numbers = there.cast(pa.float64())
        except pa.ArrowInvalid:
            return Column(name)
        # Codes with leading zeros are no numbers.
        if pc.any(pc.match_substring_regex(there, "^[+-]?0[0-9]")).as_py():
            return Column(name)
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers = values.cast(pa.float64(), safe=False).drop_null()
        numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    elif pa.types.is_duration(kind):
        return Column(name, "numeric")
    else:
        return Column(name)
    if not len(numbers):
        return Column(name)
    whole = pc.all(pc.equal(pc.floor(numbers), numbers)).as_py()
    index = name.lower() in LEFT_OUT or name.startswith("Unnamed: ")
    if whole and index and distinct == len(values):
        return None
    many = distinct > max(_NUMERIC_VALUES, _NUMERIC_SHARE * len(values))
    if not whole:
        return Column(name, "numeric")
    # Large whole numbers are ids, whatever they are called.
    small = pc.max(pc.abs(numbers)).as_py() < len(values)
    if many and small and not name.lower().endswith("id"):
        return Column(name, "numeric")
    return Column(name)
