"""An earlier preparation, whose ids are extended or reused."""

import dataclasses
import hashlib
import os

from trainer.preparation.columns import MISSING_INTEGER, Recipe
from trainer.preparation.settings import OF_A_GUESS, Prepare
from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import OOV_ID, CategoricalFeature
from wukong_tf.errors import ConfigError, DataError

# Flags that contradict --vocabularies, which reuses their results.
_SHAPING = (
    "recipe", *OF_A_GUESS, "integer_rule", "extend", "min_count",
    "max_vocabulary", "oov_buckets",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Earlier:
    """Results of an earlier preparation, or copies of them in a run.

    Args:
        where: the flag that names its directory, for errors.
        text: the text of its features.json.
        spec: its feature spec, read from `text`.
        recipe: its recipe.json, or None if there is none.
    """

    where: str
    text: str
    spec: FeatureSpec
    recipe: Recipe | None

    @property
    def digest(self) -> str:
        """SHA-256 of its features.json and recipe."""
        recipe = self.recipe.to_json() if self.recipe else ""
        return hashlib.sha256((self.text + recipe).encode()).hexdigest()

    @property
    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        """The vocabularies by table; hashed tables are omitted."""
        names = dict.fromkeys(f.table_name for f in self.spec.categorical)
        by_table = {name: self.spec.vocabulary(name) for name in names}
        return {n: words for n, words in by_table.items() if words is not None}

    @property
    def oov_buckets(self) -> int:
        """Number of ids for values out of vocabulary, equal in all tables.

        Raises:
            ConfigError: they differ, so they are not from a preparation.
        """
        words = self.vocabularies
        counts = {
            f.oov_buckets
            for f in self.spec.categorical
            if f.table_name in words
        }
        if len(counts) > 1:
            raise ConfigError(
                f"{self.where}: the tables of features.json must agree in "
                f"`oov_buckets`; they have {sorted(counts)}."
            )
        return counts.pop() if counts else 1


def named(settings: Prepare) -> Earlier | None:
    """Returns the preparation that --vocabularies names, if it is given.

    Raises:
        ConfigError: another flag contradicts --vocabularies.
        DataError: there is no such preparation.
    """
    if not settings.vocabularies:
        return None
    for name in _SHAPING:
        if name in settings.given:
            raise ConfigError(
                f"--{name} contradicts --vocabularies={settings.vocabularies}, "
                "whose recipe and vocabularies are used unchanged."
            )
    earlier = read("vocabularies", settings.vocabularies)
    if earlier.recipe is None:
        raise DataError(
            f"{earlier.where}: there is no recipe.json, which defines how "
            "its rows were encoded."
        )
    _check_whole(earlier.where, earlier.spec, earlier.recipe)
    # Recipes of older versions lack `raw`, but features.json has it.
    integers = [f.name for f in earlier.spec.categorical if f.raw == "int64"]
    columns = tuple(
        dataclasses.replace(column, raw="int64")
        if column.name in integers
        else column
        for column in earlier.recipe.columns
    )
    recipe = dataclasses.replace(earlier.recipe, columns=columns)
    return dataclasses.replace(earlier, recipe=recipe)


def read(flag: str, folder: str) -> Earlier:
    """Returns the earlier preparation in `folder`.

    Raises:
        DataError: there is no features.json.
        ConfigError: one of its files is invalid.
    """
    where = f"--{flag}={folder}"
    text = _text(where, folder, "features.json")
    if text is None:
        raise DataError(f"{where}: there is no features.json.")
    spec = FeatureSpec.from_json(text, os.path.join(folder, "features.json"))
    recipe = _text(where, folder, "recipe.json")
    path = os.path.join(folder, "recipe.json")
    return Earlier(where, text, spec, recipe and Recipe.from_json(recipe, path))


def check_missing(where: str, feature: CategoricalFeature):
    """Raises ConfigError unless the missing integer is trainer.prepare's."""
    if feature.raw == "int64" and feature.missing_value != MISSING_INTEGER:
        raise ConfigError(
            f"{where}: feature {feature.name!r}: `missing_value` of a "
            f"preparation is {MISSING_INTEGER}; it is {feature.missing_value}."
        )


def _text(where, folder, name):
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: {error}.") from error


def _check_whole(where, spec, recipe):
    """Raises ConfigError unless features.json matches the recipe."""
    theirs: dict[str, tuple] = {}
    for feature in spec.categorical:
        check_missing(where, feature)
        hashed = spec.vocabulary(feature.table_name) is None
        buckets = feature.num_ids - OOV_ID if hashed else 0
        theirs[feature.name] = (
            "categorical",
            feature.table_name,
            feature.max_ids,
            buckets,
        )
    theirs |= {f.name: ("numeric", f.transform) for f in spec.numeric}
    theirs |= {f.name: ("vector", f.size) for f in spec.vector}
    ours: dict[str, tuple] = {}
    for column in recipe.columns:
        ours[column.name] = (column.kind,) + {
            "categorical": (column.table_name, column.longest, column.buckets),
            "numeric": (column.transform,),
            "vector": (column.size,),
        }[column.kind]
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            raise ConfigError(
                f"{where}: recipe.json and features.json are of different "
                f"preparations: feature {name!r} is {ours.get(name)} and "
                f"{theirs.get(name)}."
            )
