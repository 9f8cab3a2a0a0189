"""Which columns a row has, and what each is used for."""

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from wukong_tf import plain
from wukong_tf.errors import ConfigError

RESERVED_IDS = 3  # 0 padding, 1 missing, 2 the first out-of-vocabulary bucket
TRANSFORMS = ("none", "log1p")


@dataclasses.dataclass(frozen=True)
class CategoricalFeature:
    """A column of integer ids, looked up in an embedding table.

    Args:
        name: column name.
        num_ids: number of ids; a row's id is in [0, num_ids).
        embedding_dim: width of the table. Defaults to None, the model's d.
        table: name of the table. Features that name the same table share
            its rows. Defaults to None, a table of the feature's own.
        oov_id: id that a served request's out-of-range id is read as.
            Defaults to None: such a request is an error.
        vocabulary: the raw values behind the last ids, in id order; before
            them come 0 padding, 1 missing and the out-of-vocabulary ids
            from 2. Defaults to None: the column already holds ids.
    """

    name: str
    num_ids: int
    embedding_dim: int | None = None
    table: str | None = None
    oov_id: int | None = None
    vocabulary: tuple[str, ...] | None = None

    def __post_init__(self):
        where = f"categorical feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_int(where, "num_ids", self.num_ids, 1)
        if self.embedding_dim is not None:
            plain.check_int(where, "embedding_dim", self.embedding_dim, 1)
        if self.table is not None:
            plain.check_name(where + " (its `table`)", self.table)
        if self.oov_id is not None:
            plain.check_int(where, "oov_id", self.oov_id, 0)
            if self.oov_id >= self.num_ids:
                raise ConfigError(
                    f"{where}: `oov_id` must be below num_ids="
                    f"{self.num_ids}; received {self.oov_id}."
                )
        if self.vocabulary is not None:
            self._check_vocabulary(where)

    def _check_vocabulary(self, where):
        object.__setattr__(self, "vocabulary", plain.frozen(self.vocabulary))
        # A string is a sequence of strings too, but never a vocabulary.
        if not isinstance(self.vocabulary, tuple):
            raise ConfigError(
                f"{where}: `vocabulary` must be a sequence of strings; "
                f"received {self.vocabulary!r}."
            )
        for value in self.vocabulary:
            if not isinstance(value, str):
                raise ConfigError(
                    f"{where}: `vocabulary` must hold strings; received "
                    f"{value!r}."
                )
        if len(self.vocabulary) + RESERVED_IDS > self.num_ids:
            raise ConfigError(
                f"{where}: `num_ids` must be at least the vocabulary's "
                f"{len(self.vocabulary)} values plus {RESERVED_IDS} reserved "
                f"ids; received num_ids={self.num_ids}."
            )
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise ConfigError(f"{where}: `vocabulary` repeats a value.")

    @property
    def table_name(self) -> str:
        """Name of the table that the feature reads."""
        return self.table or self.name


@dataclasses.dataclass(frozen=True)
class NumericFeature:
    """A column of finite floats: transformed, then standardized.

    Args:
        name: column name.
        transform: "none", or "log1p" for sign(x) log(1 + |x|). Defaults to
            "none".
        mean: subtracted after the transform. Defaults to 0.
        stddev: divided by afterwards, above 0. Defaults to 1.
    """

    name: str
    transform: str = "none"
    mean: float = 0.0
    stddev: float = 1.0

    def __post_init__(self):
        where = f"numeric feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_choice(where, "transform", self.transform, TRANSFORMS)
        plain.check_float(where, "mean", self.mean)
        plain.check_float(where, "stddev", self.stddev)
        if self.stddev <= 0:
            raise ConfigError(
                f"{where}: `stddev` must be above 0; received {self.stddev}."
            )


@dataclasses.dataclass(frozen=True)
class VectorFeature:
    """A column of fixed-width float vectors, such as a content embedding.

    Args:
        name: column name.
        size: number of floats in each row's vector.
    """

    name: str
    size: int

    def __post_init__(self):
        where = f"vector feature {self.name!r}"
        plain.check_name(where, self.name)
        plain.check_int(where, "size", self.size, 1)


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to predict, with its label column of zeros and ones.

    Args:
        name: names the logit, the metrics and the head. Defaults to "click".
        label: label column. Defaults to "label".
    """

    name: str = "click"
    label: str = "label"

    def __post_init__(self):
        plain.check_name(f"task {self.name!r}", self.name)
        plain.check_name(f"task {self.name!r} (its `label`)", self.label)


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """The columns of a data set and what each is used for.

    Args:
        categorical: id features, in the order of their embeddings.
        numeric: float features; together they become one embedding.
        vector: fixed-width float vectors; each becomes one embedding.
        tasks: what to predict; exactly one task is supported.
        weight: column of sample weights (finite, 0 or more), or None.
        group: column of integer groups for AUC by group, or None.

    Raises:
        ConfigError: naming the feature, the rule and what came.
    """

    categorical: tuple[CategoricalFeature, ...] = ()
    numeric: tuple[NumericFeature, ...] = ()
    vector: tuple[VectorFeature, ...] = ()
    tasks: tuple[Task, ...] = (Task(),)
    weight: str | None = None
    group: str | None = None

    def __post_init__(self):
        for field, kind in (
            ("categorical", CategoricalFeature),
            ("numeric", NumericFeature),
            ("vector", VectorFeature),
            ("tasks", Task),
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
        self._check_tables()

    def _check_names(self):
        names = self.feature_names
        if not names:
            raise ConfigError("features: at least one feature is needed.")
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"feature {name!r} is declared twice.")
        if len(self.tasks) != 1:
            raise ConfigError(
                "features: exactly one task is supported; received "
                f"{[task.name for task in self.tasks]}."
            )
        for task in self.tasks:
            if task.label in names:
                raise ConfigError(
                    f"feature {task.label!r} is also the label of task "
                    f"{task.name!r}; a label cannot be a feature."
                )
        for field in ("weight", "group"):
            column = getattr(self, field)
            if column is None:
                continue
            plain.check_name(f"features (its `{field}`)", column)
            if column in [task.label for task in self.tasks]:
                raise ConfigError(
                    f"features: `{field}` column {column!r} is also a label."
                )
        if self.weight in names:
            raise ConfigError(
                f"features: `weight` column {self.weight!r} is also a feature."
            )
        floats = [f.name for f in self.numeric] + [f.name for f in self.vector]
        if self.group in floats:
            raise ConfigError(
                f"features: `group` column {self.group!r} must hold integers, "
                "but is a feature that holds floats."
            )

    def _check_tables(self):
        first: dict[str, CategoricalFeature] = {}
        for feature in self.categorical:
            other = first.setdefault(feature.table_name, feature)
            for field in ("num_ids", "embedding_dim"):
                mine, theirs = getattr(feature, field), getattr(other, field)
                if mine != theirs:
                    raise ConfigError(
                        f"categorical features {other.name!r} and "
                        f"{feature.name!r} share table "
                        f"{feature.table_name!r} but differ in `{field}`: "
                        f"{theirs} and {mine}."
                    )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's inputs: categorical, numeric, vector."""
        features: tuple[
            CategoricalFeature | NumericFeature | VectorFeature, ...
        ] = (*self.categorical, *self.numeric, *self.vector)
        return tuple(feature.name for feature in features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that training reads, each once."""
        names = list(self.feature_names)
        names += [task.label for task in self.tasks]
        names += [name for name in (self.weight, self.group) if name]
        return tuple(dict.fromkeys(names))

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready dicts and lists, defaults left out."""
        return plain.to_dict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "FeatureSpec":
        """The spec described by `data`; unknown keys are errors."""
        return plain.from_dict(cls, data, "features")

    def to_json(self) -> str:
        """The spec as JSON text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "features") -> "FeatureSpec":
        """The spec in JSON `text`; `where` names its origin in errors."""
        return plain.from_dict(cls, plain.parse_json(text, where), where)
