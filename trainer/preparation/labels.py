"""Reads labels as 0 and 1, by the texts that a recipe names."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.preparation.columns import Recipe
from trainer.preparation.reading import refuse
from trainer.preparation.shards import Shard
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import plain_array
from wukong_tf.errors import DataError

MISSING = -1
_WHOLE = re.compile(r"([+-]?[0-9]+)(\.0*)?")
_TRUTH = {"true": "1", "false": "0"}


def read_labels(
    shard: Shard, table: pa.Table, recipe: Recipe, *, optional: bool = False
) -> np.ndarray:
    """Returns labels, int8 [N], `MISSING` if a row has none.

    A value means 0 or 1 if the recipe names its text, that text stripped or
    in lower case, or a whole number equal to it: if it names "1", also 1,
    1.0, " 1" and True.

    Args:
        shard: names the file in errors.
        table: rows of the shard.
        recipe: names the label's column, and the texts of 0 and of 1.
        optional: whether rows without a label, and files without its column,
            are accepted. Defaults to False.

    Raises:
        DataError: a label means neither, or a row has none.
    """
    name = recipe.label
    if optional and name not in table.column_names:
        return np.full(table.num_rows, MISSING, np.int8)
    encoded = _texts(shard, name, table[name]).dictionary_encode()
    words = encoded.dictionary.to_pylist()
    by_word = np.array([_label(word, recipe) for word in words], np.int8)
    if not words:
        return by_word
    labels = by_word[encoded.indices.to_numpy()]
    unknown = labels == MISSING
    if optional:
        empty = np.array([not word.strip() for word in words])
        unknown &= ~empty[encoded.indices.to_numpy()]
    if unknown.any():
        row = int(np.argmax(unknown))
        known = ", ".join((*recipe.negatives, *recipe.positives))
        refuse(
            shard,
            table,
            row,
            name,
            f"one of {known}; --dataset=csv and parquet take others by "
            "--negatives and --positives, or by the recipe's `negatives` and "
            "`positives`",
            table[name][row].as_py(),
        )
    return labels


def _texts(shard, name, column):
    """Returns the labels as strings, empty if missing."""
    try:
        values = plain_array(column)
        if pa.types.is_float16(values.type):
            values = values.cast(pa.float32())
        if pa.types.is_decimal(values.type):
            values = values.cast(pa.float64())
        if pa.types.is_floating(values.type):
            values = pc.if_else(pc.is_nan(values), None, values)
        return pc.fill_null(values.cast(pa.string()), "")
    except (pa.ArrowException, UnsupportedType) as error:
        raise DataError(
            f"{shard.path}: column {name!r}: labels must be strings, numbers "
            f"or booleans; they are {column.type}."
        ) from error


def _label(text, recipe):
    bare = text.strip()
    forms = [text, bare, bare.lower()]
    if whole := _WHOLE.fullmatch(bare):
        forms.append(str(int(whole[1])))
    if bare.lower() in _TRUTH:
        forms.append(_TRUTH[bare.lower()])
    for form in forms:
        if form in recipe.negatives:
            return 0
        if form in recipe.positives:
            return 1
    return MISSING
