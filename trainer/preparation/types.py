"""Holds the types of Parquet files to a recipe before any work is done."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.preparation import values
from trainer.preparation.columns import Column, Recipe
from trainer.preparation.shards import InputFile
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import is_list, plain_type
from wukong_tf.errors import DataError


def check(files: Sequence[InputFile], recipe: Recipe):
    """Raises DataError if a column's type is none that the recipe can read.

    Args:
        files: the data set's; those of text pass.
        recipe: what is made of their columns. A column that is missing
            passes; reading reports it.
    """
    for file in files:
        if file.layout is not None:
            continue
        try:
            schema = pq.read_schema(file.path)
        except (OSError, pa.ArrowException) as error:
            text = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{file.path}: {text}.") from error
        for column in recipe.columns:
            name = column.key or column.column
            # Reading reports a column that is missing, or stands there twice.
            if schema.names.count(name) == 1:
                _check(file.path, schema.field(name), column)


def _check(path, field, column: Column):
    try:
        kind = plain_type(field)
        if is_list(kind) and not (column.is_bag or column.kind == "vector"):
            raise UnsupportedType(
                f"{field.type}; a bag of its values needs `longest`"
            )
        _read_nothing(pa.chunked_array([], field.type), column)
    except UnsupportedType as error:
        raise DataError(
            f"{path}: column {field.name!r} cannot be a {column.kind} feature: "
            f"it is {error}."
        ) from error


def _read_nothing(array, column):
    """Reads no rows of a type, by the rules that will read them."""
    if column.kind == "numeric":
        values.numbers_of(array, column)
    elif column.kind == "vector":
        if column.key is None:
            values.vectors_of(array, column)
    elif column.is_bag:
        values.bags_of(array, column)
    else:
        values.texts_of(array, column)
