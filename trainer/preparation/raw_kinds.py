"""Decides which categories hold integers, in files and requests."""

import dataclasses
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.preparation.columns import RAW_RULES, Column, Recipe
from trainer.preparation.shards import InputFile
from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import is_list, plain_type
from wukong_tf.config import FeatureSpec


def resolved(
    recipe: Recipe,
    files: Sequence[InputFile],
    before: FeatureSpec | None = None,
) -> Recipe:
    """Returns the recipe with `raw` set for categories that hold integers.

    A table without `raw` keeps that of the earlier preparation; otherwise it
    holds integers if all of its columns are numbers of Parquet in all files.

    Args:
        recipe: the recipe.
        files: files of the data set.
        before: features of an earlier preparation. Defaults to None.
    """
    columns = recipe.columns_of("categorical")
    raws: dict[str, str | None] = {
        column.table_name: column.raw for column in columns if column.raw
    }
    for feature in before.categorical if before else ():
        raws.setdefault(feature.table_name, feature.raw)
    schemas: list[pa.Schema] | None = None
    if all(file.layout is None for file in files):
        schemas = [pq.read_schema(file.path) for file in files]
    for column in columns:
        table = column.table_name
        if table not in raws and schemas is not None:
            mine = [c for c in columns if c.table_name == table]
            whole = all(_is_whole(s, c) for s in schemas for c in mine)
            raws[table] = "int64" if whole else None
    return dataclasses.replace(
        recipe,
        columns=tuple(
            dataclasses.replace(column, raw="int64")
            if column.kind == "categorical"
            and raws.get(column.table_name) == "int64"
            and column.rule in RAW_RULES
            else column
            for column in recipe.columns
        ),
    )


def _is_whole(schema, column: Column):
    """Returns whether a file's column holds integers that fit int64.

    Floats that are read as categories are integers with missing values.
    """
    if schema.names.count(column.column) != 1 or column.rule not in RAW_RULES:
        return False
    try:
        kind = plain_type(schema.field(column.column))
    except UnsupportedType:
        return False
    if is_list(kind):
        kind = kind.value_type
    whole = pa.types.is_integer(kind) and kind != pa.uint64()
    return whole or pa.types.is_floating(kind)
