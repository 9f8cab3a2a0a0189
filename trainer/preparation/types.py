"""Checks the types of Parquet files against a recipe before any work."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.preparation import values
from trainer.preparation.columns import Column, Recipe
from trainer.preparation.shards import InputFile
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import is_list, plain_type
from wukong_tf.errors import DataError, one_line


def check(files: Sequence[InputFile], recipe: Recipe):
    """Raises DataError if the recipe cannot read a column's type.

    Args:
        files: files of the data set; text is not checked.
        recipe: the recipe. Missing columns are reported only when they are
            read.
    """
    for file in files:
        if file.layout is not None:
            continue
        try:
            schema = pq.read_schema(file.path)
        except (OSError, pa.ArrowException) as error:
            text = one_line(error).rstrip(".")
            raise DataError(f"{file.path}: {text}.") from error
        for column in recipe.columns:
            name = column.key or column.column
            # Missing and repeated columns are reported when they are read.
            if schema.names.count(name) == 1:
                _check(file.path, schema.field(name), column)


def _check(path, field, column: Column):
    try:
        kind = plain_type(field)
        if is_list(kind) and not (column.is_bag or column.kind == "vector"):
            raise UnsupportedType(
                f"{field.type}; a bag of its values needs `longest`"
            )
        _read_empty(pa.chunked_array([], field.type), column)
    except UnsupportedType as error:
        raise DataError(
            f"{path}: column {field.name!r} cannot be a {column.kind} feature: "
            f"it is {error}."
        ) from error


def _read_empty(array, column):
    """Reads an empty array of a type by the rules for its values."""
    if column.kind == "numeric":
        values.numbers_of(array, column)
    elif column.kind == "vector":
        if column.key is None:
            values.vectors_of(array, column)
    elif column.is_bag:
        values.bags_of(array, column)
    else:
        values.texts_of(array, column)
