"""Checks that a preparation with --extend keeps all earlier ids."""

from trainer.preparation.columns import Column, Recipe
from trainer.preparation.earlier import Earlier, check_missing
from trainer.preparation.settings import Prepare
from trainer.preparation.specs import raw_of
from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.errors import ConfigError

Words = tuple[tuple[str, tuple[str, ...]], ...]


def words_of(earlier: Earlier, recipe: Recipe) -> Words:
    """Returns the earlier vocabularies to extend, by table.

    Raises:
        ConfigError: with this recipe, an id of the earlier preparation would
            be lost or mean another value.
    """
    columns = {c.name: c for c in recipe.columns_of("categorical")}
    by_table = {c.table_name: c for c in columns.values()}
    for feature in earlier.spec.categorical:
        check_missing(earlier.where, feature)
        column = columns.get(feature.name)
        if column is None:
            column = by_table.get(feature.table_name)
        problem = _problem(earlier, feature, column)
        if problem:
            raise ConfigError(
                f"{earlier.where}: the ids of feature {feature.name!r} (table "
                f"{feature.table_name!r}) would not be kept: {problem}. Keep "
                "it in the recipe as it was, or prepare without --extend."
            )
    return tuple(earlier.vocabularies.items())


def oov_buckets_of(earlier: Earlier, settings: Prepare) -> int:
    """Returns the earlier number of ids for values out of vocabulary.

    Raises:
        ConfigError: --oov_buckets is another number, which would shift all
            ids after them.
    """
    if not earlier.vocabularies:
        return settings.oov_buckets
    before = earlier.oov_buckets
    if "oov_buckets" in settings.given and settings.oov_buckets != before:
        raise ConfigError(
            f"--oov_buckets={settings.oov_buckets} would change every id of "
            f"{earlier.where}, which has {before}; omit the flag."
        )
    return before


def print_full(extended: Words, most: int | None):
    """Prints the tables that cannot grow, as earlier ids are always kept.

    Args:
        extended: the result of `words_of`.
        most: maximum number of values in a table; None for no limit.
    """
    for table, words in extended:
        if most is not None and len(words) >= most:
            print(
                f"table {table!r}: its {len(words):,} earlier values reach "
                f"--max_vocabulary={most:,}; they are kept, and none is added"
            )


def _problem(earlier, feature: CategoricalFeature, column: Column | None):
    """Returns how a feature's ids would change, or None if they are kept."""
    if column is None:
        return "the recipe has no categorical feature of that name or table"
    if column.table_name != feature.table_name:
        return f"it would read table {column.table_name!r}"
    words = earlier.vocabularies.get(feature.table_name)
    if words is None and (feature.raw is None or feature.boundaries):
        return "they come from neither a vocabulary nor a hash"
    hashed = feature.num_ids - OOV_ID if words is None else 0
    if hashed != column.buckets:
        return f"they are {_made(hashed)} and would be {_made(column.buckets)}"
    if raw_of(column) != feature.raw:
        return f"`raw` is {feature.raw!r} and would be {raw_of(column)!r}"
    before = _column(earlier.recipe, feature.name)
    for field in ("rule", "time_zone"):
        was, now = getattr(before, field, None), getattr(column, field, None)
        if before is not None and column.name == before.name and was != now:
            return f"`{field}` was {was!r} and would be {now!r}"
    return None


def _made(buckets):
    return f"hashed to {buckets:,}" if buckets else "from a vocabulary"


def _column(recipe, name):
    columns = recipe.columns if recipe else ()
    return next((column for column in columns if column.name == name), None)
