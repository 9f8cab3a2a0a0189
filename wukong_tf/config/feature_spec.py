"""The columns of a row and their roles."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from wukong_tf.config import schema
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.features import (
    EmbeddingGroup,
    NumericFeature,
    TableSettings,
    Task,
    VectorFeature,
)
from wukong_tf.errors import ConfigError

# The features of one table must agree in the fields `_OF_A_TABLE`.
GROUPS = "_groups"  # key in a batch; see `FeatureSpec.group_key`
_OF_A_TABLE = (
    "num_ids",
    "embedding_dim",
    "units",
    "keep_units",
    "raw",
    "oov_buckets",
    "boundaries",
)


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """The columns of a data set and their roles.

    Args:
        categorical: id features, in the order of their embeddings. Defaults
            to ().
        numeric: float features; together they become one embedding or, if the
            model's configuration says so, several. Defaults to ().
        vector: fixed-width float vectors; each becomes separate embeddings.
            Defaults to ().
        tasks: prediction tasks, at least one; each has a separate head. The
            first decides if a single number is needed, such as in early
            stopping. Default: one `Task()`.
        weight: column of sample weights (finite, 0 or more), if any.
            Defaults to None.
        group: column of integer groups for AUC by group, if any. Defaults
            to None.
        embedding_groups: groups that categorical features name as their
            `embedding_group`, in the order of their embeddings. Defaults
            to ().
        tables: initialization and learning rates of some tables. Defaults to
            (), all as the model and the trainer say.

    Raises:
        ConfigError: names the feature, the rule and the received value.
    """

    categorical: tuple[CategoricalFeature, ...] = ()
    numeric: tuple[NumericFeature, ...] = ()
    vector: tuple[VectorFeature, ...] = ()
    tasks: tuple[Task, ...] = (Task(),)
    weight: str | None = None
    group: str | None = None
    embedding_groups: tuple[EmbeddingGroup, ...] = ()
    tables: tuple[TableSettings, ...] = ()

    def __post_init__(self):
        for field, kind in (
            ("categorical", CategoricalFeature),
            ("numeric", NumericFeature),
            ("vector", VectorFeature),
            ("tasks", Task),
            ("embedding_groups", EmbeddingGroup),
            ("tables", TableSettings),
        ):
            value = getattr(self, field)
            if not isinstance(value, Iterable):
                raise ConfigError(
                    f"features: `{field}` must be a sequence of "
                    f"{kind.__name__} objects; received {value!r}."
                )
            value = tuple(value)
            object.__setattr__(self, field, value)
            for item in value:
                if not isinstance(item, kind):
                    raise ConfigError(
                        f"features: `{field}` must hold {kind.__name__} "
                        f"objects; received {item!r}."
                    )
        self._check_names()
        self._check_columns()
        self._check_tables()
        self._check_groups()

    def _check_names(self):
        if not (self.categorical or self.numeric or self.vector):
            raise ConfigError("features: at least one feature is needed.")
        if not self.tasks:
            raise ConfigError("features: at least one task is needed.")
        if self.feature_names == ("b64",):
            raise ConfigError(
                "feature 'b64': the only feature must not be called so, as a "
                "request would read its rows as base64; give it another name."
            )
        for what, names in (
            ("feature", [f.name for f in self._features()]),
            ("task", [task.name for task in self.tasks]),
            ("embedding group", [g.name for g in self.embedding_groups]),
            ("table in `tables`", [table.name for table in self.tables]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ConfigError(f"{what} {name!r} is declared twice.")

    def _check_columns(self):
        """Raises ConfigError if a column has two conflicting roles."""
        names = [feature.name for feature in self._features()]
        bags: dict[str, CategoricalFeature] = {}
        for categorical in self.categorical:
            if categorical.weights is None:
                continue
            first = bags.setdefault(categorical.weights, categorical)
            if first.max_ids != categorical.max_ids:
                raise ConfigError(
                    f"categorical features {first.name!r} and "
                    f"{categorical.name!r} share the `weights` column "
                    f"{categorical.weights!r} but differ in `max_ids`: "
                    f"{first.max_ids} and {categorical.max_ids}."
                )
            if categorical.weights in names:
                raise ConfigError(
                    f"categorical feature {categorical.name!r}: its "
                    f"`weights` column {categorical.weights!r} is also a "
                    "feature."
                )
        labels: dict[str, Task] = {}
        for task in self.tasks:
            if task.label in self.feature_names:
                raise ConfigError(
                    f"feature {task.label!r} is also the label of task "
                    f"{task.name!r}; a label cannot be a feature."
                )
            other = labels.setdefault(task.label, task)
            if other is not task:
                raise ConfigError(
                    f"tasks {other.name!r} and {task.name!r} have the same "
                    f"label {task.label!r}."
                )
        for field in ("weight", "group"):
            column = getattr(self, field)
            if column is None:
                continue
            schema.check_name(f"features (its `{field}`)", column)
            if column in labels:
                raise ConfigError(
                    f"features: `{field}` column {column!r} is also a label."
                )
        if self.weight in self.feature_names:
            raise ConfigError(
                f"features: `weight` column {self.weight!r} is also a feature."
            )
        floats = [feature.name for feature in self.numeric]
        floats += [feature.name for feature in self.vector]
        floats += [f.weights for f in self.categorical if f.weights]
        if self.group in floats:
            raise ConfigError(
                f"features: `group` column {self.group!r} must hold integers, "
                "but is a feature that holds floats."
            )
        if self.group in [f.name for f in self.categorical if f.pooling]:
            raise ConfigError(
                f"features: `group` column {self.group!r} must hold one "
                "integer a row, but is a feature that holds bags."
            )

    def _check_tables(self):
        first: dict[str, CategoricalFeature] = {}
        for feature in self.categorical:
            other = first.setdefault(feature.table_name, feature)
            for field in _OF_A_TABLE:
                mine, theirs = getattr(feature, field), getattr(other, field)
                if mine != theirs:
                    raise ConfigError(
                        f"categorical features {other.name!r} and "
                        f"{feature.name!r} share table "
                        f"{feature.table_name!r} but differ in `{field}`: "
                        f"{theirs} and {mine}."
                    )

        stated: dict[str, CategoricalFeature] = {}
        for feature in self.categorical:
            if feature.vocabulary is None:
                continue
            other = stated.setdefault(feature.table_name, feature)
            if other.vocabulary != feature.vocabulary:
                raise ConfigError(
                    f"categorical features {other.name!r} and "
                    f"{feature.name!r} share table {feature.table_name!r} but "
                    "state different vocabularies."
                )
        for table in self.tables:
            if table.name not in first:
                raise ConfigError(
                    f"features: `tables` must name tables of categorical "
                    f"features, {list(first)}; received {table.name!r}."
                )

    def _check_groups(self):
        declared = [group.name for group in self.embedding_groups]
        used = [f.embedding_group for f in self.categorical]
        for feature in self.categorical:
            name = feature.embedding_group
            if name is not None and name not in declared:
                raise ConfigError(
                    f"categorical feature {feature.name!r}: "
                    f"`embedding_group` must be one of {declared}; received "
                    f"{name!r}."
                )
        for name in declared:
            if name not in used:
                raise ConfigError(
                    f"embedding group {name!r} has no features; name it as "
                    "the `embedding_group` of at least one."
                )

    def _features(self):
        features: tuple[
            CategoricalFeature | NumericFeature | VectorFeature, ...
        ] = (*self.categorical, *self.numeric, *self.vector)
        return features

    def vocabulary(self, table: str) -> tuple[str, ...] | None:
        """Returns a table's vocabulary, or None if no feature states one."""
        return next(
            (
                feature.vocabulary
                for feature in self.categorical
                if feature.table_name == table
                and feature.vocabulary is not None
            ),
            None,
        )

    def table_settings(self, name: str) -> TableSettings:
        """Returns the settings of table `name`, or defaults if it has none."""
        found = [table for table in self.tables if table.name == name]
        return found[0] if found else TableSettings(name)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's inputs: categorical, numeric, vector.

        A bag's column of weights follows the bag, and appears once if several
        bags share it.
        """
        names = []
        for feature in self._features():
            names.append(feature.name)
            if getattr(feature, "weights", None):
                names.append(feature.weights)
        return tuple(dict.fromkeys(names))

    def num_embeddings(self, numeric_embeddings: int = 1) -> int:
        """Returns n, the number of rows of X_0.

        Args:
            numeric_embeddings: number of rows from all numeric features.
        """
        return len(self.rows(numeric_embeddings))

    def rows(self, numeric_embeddings: int = 1) -> list[tuple[str, str, int]]:
        """Returns the kind, name and index of each row of X_0, in order.

        Categorical features come first, ("id", feature, unit), then
        embedding groups, ("group", group, row), numeric features together,
        ("numeric", "", row), and vector features, ("vector", feature, row).

        Args:
            numeric_embeddings: number of rows from all numeric features.
        """
        counts = [
            *(
                ("id", feature.name, feature.units)
                for feature in self.categorical
                if not feature.embedding_group
            ),
            *(
                ("group", g.name, g.num_embeddings)
                for g in self.embedding_groups
            ),
            ("numeric", "", numeric_embeddings if self.numeric else 0),
            *(("vector", v.name, v.num_embeddings) for v in self.vector),
        ]
        return [
            (kind, name, index)
            for kind, name, count in counts
            for index in range(count)
        ]

    def cut(self, keep_units: int | Mapping[str, int]) -> "FeatureSpec":
        """Returns the spec with only the first units of its features.

        Args:
            keep_units: units to keep, by feature, or one number for every
                feature that has more. Features that share a table keep the
                same.

        Raises:
            ConfigError: a feature does not exist, has only one unit, or has
                fewer units than are to be kept.
        """
        many = {f.name: f for f in self.categorical if f.units > 1}
        if not isinstance(keep_units, Mapping):
            schema.check_int("features", "keep_units", keep_units, 1)
            keep_units = {
                name: min(keep_units, feature.units)
                for name, feature in many.items()
            }
        for name in keep_units:
            if name not in many:
                raise ConfigError(
                    "features: `keep_units` must name features with several "
                    f"units, of which there are {sorted(many)}; received "
                    f"{name!r}."
                )
        return dataclasses.replace(
            self,
            categorical=tuple(
                dataclasses.replace(f, keep_units=keep_units[f.name])
                if f.name in keep_units
                else f
                for f in self.categorical
            ),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that training reads, each once, features first."""
        names = list(self.feature_names)
        names += [task.label for task in self.tasks]
        names += [name for name in (self.weight, self.group) if name]
        return tuple(dict.fromkeys(names))

    @property
    def group_key(self) -> str | None:
        """Key of the groups in a batch, or None if there are none.

        It is the name of their column. If that is a feature of raw values, its
        ids in a batch merge out-of-vocabulary values, so the groups have
        another key.
        """
        raw = [
            feature.name for feature in self.categorical if feature.logged_raw
        ]
        return GROUPS if self.group in raw else self.group

    def to_dict(self) -> dict[str, Any]:
        """Returns the spec as JSON-ready dicts and lists, without defaults."""
        return schema.to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FeatureSpec":
        """Returns the spec described by `data`; unknown keys are errors."""
        return schema.from_dict(cls, data, "features")

    def to_json(self) -> str:
        """Returns the spec as JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "features") -> "FeatureSpec":
        """Returns the spec in JSON `text`; errors name its origin `where`."""
        return schema.from_dict(cls, schema.parse_json(text, where), where)
