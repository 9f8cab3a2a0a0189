"""The feature spec and the schema of encoded rows, from a recipe."""

from collections.abc import Mapping

import pyarrow as pa

from trainer.preparation.columns import (
    MISSING_INTEGER,
    RAW_RULES,
    TIME_RULES,
    Column,
    Recipe,
)
from trainer.preparation.counting import Counts
from trainer.preparation.moments import Moments
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Task,
    VectorFeature,
)
from wukong_tf.config.categorical_feature import OOV_ID

Vocabularies = Mapping[str, pa.Array]


def spec_of(
    recipe: Recipe,
    counts: Counts,
    vocabularies: Vocabularies,
    oov_buckets: int = 1,
) -> FeatureSpec:
    """Returns the feature spec of the encoded rows.

    Args:
        recipe: the recipe.
        counts: counts of the train rows.
        vocabularies: vocabularies by table, without hashed ones.
        oov_buckets: ids for values out of vocabulary. Defaults to 1.
    """
    stated: set[str] = set()
    categorical = []
    for column in recipe.columns_of("categorical"):
        words = vocabularies.get(column.table_name)
        vocabulary = None
        if words is None:
            num_ids = OOV_ID + column.buckets
        else:
            num_ids = OOV_ID + oov_buckets + len(words)
            if column.table_name not in stated:
                vocabulary = tuple(words.to_pylist())
        stated.add(column.table_name)
        categorical.append(
            CategoricalFeature(
                column.name,
                num_ids,
                table=column.table,
                vocabulary=vocabulary,
                pooling=column.pooling if column.is_bag else None,
                max_ids=column.longest if column.is_bag else None,
                raw=raw_of(column),
                encoded=raw_of(column) is not None,
                oov_buckets=oov_buckets if words is not None else 1,
                oov_id=OOV_ID if raw_of(column) is None else None,
                missing_value=MISSING_INTEGER if column.raw == "int64" else -1,
                derived=derived_of(column),
            )
        )
    return FeatureSpec(
        tuple(categorical),
        tuple(
            _numeric(column, counts.moments[column.name])
            for column in recipe.columns_of("numeric")
        ),
        tuple(
            VectorFeature(column.name, column.size)
            for column in recipe.columns_of("vector")
        ),
        tasks=(Task(label=recipe.label_name),),
        group=group_column(recipe),
    )


def group_column(recipe: Recipe) -> str | None:
    """Returns the name of the column that holds the groups of AUC, or None.

    Ids cannot be groups, as all values out of vocabulary share one.
    """
    if recipe.group is None:
        return None
    name = f"{recipe.group}_group"
    while name in {recipe.label_name, *(c.name for c in recipe.columns)}:
        name += "_"
    return name


def raw_of(column: Column) -> str | None:
    """Returns the raw type of a column in requests; None if they send ids.

    Requests send ids if a rule changes the logged value, except of times
    with a `format`, whose derived values are sent.
    """
    as_it_is = column.rule in RAW_RULES or column.format is not None
    return (column.raw or "string") if as_it_is else None


def derived_of(column: Column) -> str | None:
    """Returns a description of a column's rule; None if it keeps values."""
    if column.rule in RAW_RULES:
        return None
    text = f"{column.rule} of {column.column!r}"
    if column.rule in TIME_RULES:
        text += f" in {column.time_zone}"
    if column.reference is not None:
        text += f", before {column.reference}"
    return text


def check(recipe: Recipe):
    """Raises ConfigError if no spec can be made of a recipe."""
    numbers = {
        column.name: Moments() for column in recipe.columns_of("numeric")
    }
    words = {
        column.table_name: pa.array([], pa.string())
        for column in recipe.columns_of("categorical")
        if not column.buckets
    }
    spec_of(recipe, Counts(moments=numbers), words)


def _numeric(column, moments):
    return NumericFeature(
        column.name,
        column.transform,
        mean=moments.mean,
        stddev=moments.stddev or 1.0,
        missing=float(column.missing),
        derived=derived_of(column),
    )


def schema_of(recipe: Recipe, label: bool = True) -> pa.Schema:
    """Returns the types of the encoded columns.

    Args:
        recipe: the recipe.
        label: whether to include the label. Defaults to True.
    """
    fields = [(recipe.label_name, pa.int8())] if label else []
    kinds = {"numeric": pa.float32(), "categorical": pa.int32()}
    for column in recipe.columns:
        if column.kind == "vector":
            kind = pa.list_(pa.float32(), column.size)
        else:
            kind = kinds[column.kind]
            kind = pa.list_(kind) if column.is_bag else kind
        fields.append((column.name, kind))
    if group := group_column(recipe):
        fields.append((group, pa.int64()))
    return pa.schema(fields)
