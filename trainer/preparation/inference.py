"""Guesses a recipe from the first rows of a log."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation.columns import (
    NEGATIVES,
    POSITIVES,
    Column,
    Recipe,
)
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import numbers
from wukong_tf.arrow.plain import is_list, is_number, is_text, plain_array
from wukong_tf.arrow.texts import utf8
from wukong_tf.errors import DataError

LABELS = ("label", "click", "clicked", "is_click", "clk", "target", "y")
LEFT_OUT = ("id", "row_id", "index")
# Prefixes of unnamed columns of text, and of the index in pandas' Parquet.
_INDEXES = ("Unnamed: ", "__index_level_")
# Numbers with fewer distinct values (share of rows, count) are categories.
_NUMERIC_SHARE, _NUMERIC_VALUES = 0.02, 50


def infer(
    rows: pa.Table,
    *,
    label: str | None = None,
    separator: str | None = None,
    positives: Sequence[str] = (),
    negatives: Sequence[str] = (),
    longest: int = 100,
    where: str = "the input",
) -> Recipe:
    """Returns a recipe for a log.

    A column is numeric if all its values are numbers, and some have a
    fraction or more than 50 and 2 % of the rows are distinct; a bag if it
    holds lists or a `separator`; otherwise a category. A column of distinct
    integers named id, row_id or index or without a name is left out, as is
    one without any value.

    Args:
        rows: its first rows.
        label: column of the label. Defaults to None, the first of label,
            click, clicked, is_click, clk, target and y.
        separator: separator of a bag's values. Defaults to None, no text is
            a bag.
        positives: labels that mean 1. Defaults to (), those of `Recipe`.
        negatives: labels that mean 0. Defaults to (), those of `Recipe`.
        longest: maximum values in a bag. Defaults to 100.
        where: names the input in errors. Defaults to "the input".

    Raises:
        DataError: there is no label, or no other column.
    """
    names = rows.column_names
    label = _label_of(names, label, where)
    columns = []
    for name in names:
        if name == label:
            continue
        try:
            values = plain_array(rows[name])
        except UnsupportedType as error:
            raise DataError(
                f"{where}: column {name!r} cannot be a feature: it is {error}; "
                "give a --recipe without it."
            ) from error
        column = _column(name, values, separator, longest)
        if column is not None:
            columns.append(column)
    if not columns:
        raise DataError(f"{where}: there are no columns except the label.")
    return Recipe(
        tuple(columns),
        label,
        tuple(negatives) or NEGATIVES,
        tuple(positives) or POSITIVES,
    )


def _label_of(names, label, where):
    """Returns the column of the label: `label`, else the first of `LABELS`."""
    if label is None:
        label = next((name for name in LABELS if name in names), None)
    if label is None or label not in names:
        raise DataError(
            f"{where}: there is no label; set --label to its column. The "
            f"columns are {', '.join(names)}."
        )
    return label


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
    if pa.types.is_duration(kind):
        return Column(name, "numeric")
    if is_text(kind):
        return _text_column(name, values, separator, longest)
    if is_number(kind):
        try:
            if not pa.types.is_integer(kind):
                values = values.cast(pa.float64())
            distinct = len(pc.unique(values))
            return _number_column(name, numbers(values), distinct)
        except InvalidValue:  # infinite; the error is reported when read
            return Column(name, "numeric")
    return Column(name) if values.null_count < len(values) else None


def _text_column(name, values, separator, longest):
    try:
        words = utf8(values)
    except InvalidValue:  # the error is reported when read
        return Column(name)
    present = words.filter(pc.not_equal(pc.ascii_trim_whitespace(words), ""))
    if not len(present):
        return None
    if separator and pc.any(pc.match_substring(present, separator)).as_py():
        return Column(name, separator=separator, longest=longest)
    # Codes with leading zeros are not numbers.
    if pc.any(pc.match_substring_regex(present, "^[+-]?0[0-9]")).as_py():
        return Column(name)
    try:
        floats = numbers(words)
    except InvalidValue:
        return Column(name)
    return _number_column(name, floats, len(pc.unique(words)))


def _number_column(name, floats, distinct):
    """Returns a number or the category of a code; None if it is left out."""
    present = floats[~np.isnan(floats)]
    if not len(present):
        return None
    whole = bool((np.floor(present) == present).all())
    index = name.lower() in LEFT_OUT or name.startswith(_INDEXES)
    if whole and index and distinct == len(floats):
        return None
    if not whole:
        return Column(name, "numeric")
    many = distinct > max(_NUMERIC_VALUES, _NUMERIC_SHARE * len(floats))
    # Large whole numbers are ids, whatever the name.
    small = np.abs(present).max() < len(floats)
    if many and small and not name.lower().endswith("id"):
        return Column(name, "numeric")
    return Column(name)
