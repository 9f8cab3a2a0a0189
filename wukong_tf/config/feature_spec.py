"""The columns of a row and their roles."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wukong_tf.config import schema, spec_checks
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.features import (
    EmbeddingGroup,
    NumericFeature,
    TableSettings,
    Task,
    VectorFeature,
)
from wukong_tf.errors import ConfigError

GROUPS = "_groups"  # key in a batch; see `FeatureSpec.group_key`
_AS_IDS: dict[str, Any] = {
    "raw": None,
    "encoded": False,
    "boundaries": None,
    "vocabulary": None,
    "oov_buckets": 1,
}
_ONE_ROW: dict[str, Any] = {
    "units": 1,
    "unit_dropout": 0.0,
    "keep_units": None,
    "embedding_group": None,
    "embedding_dim": None,
}


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
        spec_checks.check(self)

    @property
    def all_features(
        self,
    ) -> tuple[CategoricalFeature | NumericFeature | VectorFeature, ...]:
        """The categorical, numeric and vector features, in this order."""
        return (*self.categorical, *self.numeric, *self.vector)

    @property
    def has_raw(self) -> bool:
        """Whether requests hold raw values of any feature."""
        return any(feature.raw for feature in self.categorical)

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
        settings = {table.name: table for table in self.tables}
        return settings.get(name) or TableSettings(name)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's inputs: categorical, numeric, vector.

        A bag's column of weights follows the bag, and appears once if several
        bags share it.
        """
        names = []
        for feature in self.all_features:
            names.append(feature.name)
            if weights := getattr(feature, "weights", None):
                names.append(weights)
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
                    f"units, {sorted(many)}; received {name!r}."
                )
        kept = keep_units
        return self._with_categorical(
            lambda f: {"keep_units": kept[f.name]} if f.name in kept else {}
        )

    def as_requests(self) -> "FeatureSpec":
        """Returns the spec of files whose rows hold the columns of requests."""
        return self._with_categorical(lambda _: {"encoded": False})

    def as_ids(self) -> "FeatureSpec":
        """Returns the spec of rows whose raw values are mapped to ids."""
        return self._with_categorical(lambda f: _AS_IDS if f.raw else {})

    def one_row_each(self) -> "FeatureSpec":
        """Returns the spec with one row of X_0 for each feature."""
        return self._with_categorical(
            lambda _: _ONE_ROW,
            vector=tuple(
                dataclasses.replace(v, num_embeddings=1) for v in self.vector
            ),
            embedding_groups=(),
        )

    def _with_categorical(
        self,
        changes: Callable[[CategoricalFeature], dict[str, Any]],
        **others: Any,
    ) -> "FeatureSpec":
        """Returns the spec with changed fields of categorical features."""
        categorical = tuple(
            dataclasses.replace(f, **changes(f)) for f in self.categorical
        )
        return dataclasses.replace(self, categorical=categorical, **others)

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
