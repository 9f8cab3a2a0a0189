"""Base classes of the models' configurations."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from wukong_tf.config import schema
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.errors import ConfigError

# Fields that do not change what the same weights compute.
_NOT_OF_SCORES = {
    "features", "dropout", "embedding_dropout", "table_initial_scale",
}  # fmt: skip
_OF_LAYERS = {"num_fmb", "num_lcb", "rank"}  # one for all layers, or for each


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Base configuration of a model: its features, and the name of its kind.

    Args:
        features: the columns.
    """

    model: ClassVar[str]
    # What configurations mean that were written before a field was added, if
    # its default is another.
    unwritten: ClassVar[Mapping[str, Any]] = {}

    features: FeatureSpec

    def __post_init__(self):
        if not isinstance(self.features, FeatureSpec):
            raise ConfigError(
                f"{self._where}: `features` must be a FeatureSpec; received "
                f"{self.features!r}."
            )

    @property
    def unused(self) -> set[str]:
        """Names of fields without effect, given the others and the features."""
        return set()

    @property
    def first_order(self) -> bool:
        """Whether all weights of the dense part are first-order ones."""
        return False

    def differences(self, other: Self) -> list[str]:
        """Returns names of fields by which the same weights score otherwise."""
        without = _NOT_OF_SCORES | (self.unused & other.unused)
        return [
            field.name
            for field in dataclasses.fields(self)
            if field.name not in without
            and self._plain(field.name) != other._plain(field.name)
        ]

    def _plain(self, name):
        """Returns a field's value, and one value for layers of equal ones."""
        value = getattr(self, name)
        if name in _OF_LAYERS and isinstance(value, tuple):
            return value[0] if len(set(value)) == 1 else value
        return value

    @property
    def _where(self):
        return f"model {self.model}"

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON-ready values of the fields, and the model's name."""
        return {"model": self.model, **schema.to_dict(self, defaults=True)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Returns the configuration in `data`; unknown keys are errors.

        A key that `to_dict` writes and `data` lacks has the value that models
        had before the field was added.
        """
        if not isinstance(data, dict):
            raise ConfigError(
                f"model {cls.model}: expected an object; received {data!r}."
            )
        if data.get("model", cls.model) != cls.model:
            raise ConfigError(
                f"model {cls.model}: received the configuration of model "
                f"{data['model']!r}."
            )
        fields = {**cls.unwritten, **data}
        fields.pop("model", None)
        return schema.from_dict(cls, fields, f"model {cls.model}")

    def _check_scale(self, value):
        schema.check_float(self._where, "table_initial_scale", value, minimum=0)


@dataclasses.dataclass(frozen=True)
class EmbeddingModelConfig(ModelConfig):
    """Base configuration of models that embed features with one width d.

    Args:
        features: the columns.
        embedding_dim: d, the width of every embedding. Defaults to 16.
        bottom_mlp_units: hidden units of the MLPs that embed numeric and
            vector features. Defaults to (64,).
        numeric_embeddings: number of rows of X_0 from all numeric features.
            Defaults to 1.
        embedding_dropout: dropout rate on X_0. Defaults to 0.
        table_initial_scale: tables are initialized uniformly in
            [-scale, scale]. Defaults to 0.05.
    """

    embedding_dim: int = 16
    bottom_mlp_units: tuple[int, ...] = (64,)
    numeric_embeddings: int = 1
    embedding_dropout: float = 0.0
    table_initial_scale: float = 0.05

    def __post_init__(self):
        super().__post_init__()
        schema.check_int(self._where, "embedding_dim", self.embedding_dim, 1)
        self._check_units("bottom_mlp_units")
        schema.check_int(
            self._where, "numeric_embeddings", self.numeric_embeddings, 1
        )
        schema.check_rate(
            self._where, "embedding_dropout", self.embedding_dropout
        )
        self._check_scale(self.table_initial_scale)

    @property
    def num_embeddings(self) -> int:
        """n, the number of rows of X_0."""
        return self.features.num_embeddings(self.numeric_embeddings)

    @property
    def unused(self) -> set[str]:
        """Names of fields without effect, given the others and the features."""
        features, names = self.features, set()
        if not features.numeric:
            names.add("numeric_embeddings")
            if not features.vector:
                names.add("bottom_mlp_units")
        return names

    @property
    def row_width(self) -> int:
        """Width of a row of X_0, and the default width of tables."""
        return self.embedding_dim

    def table_width(self, feature: CategoricalFeature) -> int:
        """Returns the width of a feature's table."""
        return (feature.embedding_dim or self.row_width) * feature.kept_units

    def _check_units(self, field):
        """Freezes and checks a field of hidden units."""
        object.__setattr__(self, field, schema.frozen(getattr(self, field)))
        schema.check_units(self._where, field, getattr(self, field))
