"""Frozen descriptions of data and models, JSON both ways, all validated.

A `FeatureSpec` says which columns a row has; a model configuration holds a
spec and the sizes of one model. Both travel with every checkpoint and every
exported version.
"""

import dataclasses
from typing import Any, ClassVar

from wukong_tf import plain
from wukong_tf.errors import ConfigError
from wukong_tf.feature_spec import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Task,
    VectorFeature,
)

__all__ = [
    "CategoricalFeature",
    "FeatureSpec",
    "LogisticRegressionConfig",
    "ModelConfig",
    "NumericFeature",
    "Task",
    "VectorFeature",
    "WukongConfig",
    "model_config_from_dict",
]

FM_KINDS = ("full", "projected")

Sizes = int | tuple[int, ...]
Units = tuple[int, ...] | tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class WukongConfig:
    """Features and sizes of one Wukong.

    The names follow the paper (arXiv 2403.02545): l, n_F, n_L, k and d.

    Args:
        features: the columns.
        embedding_dim: d, the width of every embedding. Defaults to 16.
        num_layers: l, the number of interaction layers. Defaults to 3.
        num_fmb: n_F, embeddings out of each factorization machine block;
            one int or one for each layer. Defaults to 8.
        num_lcb: n_L, embeddings out of each linear compress block; one int
            or one for each layer. Defaults to 8.
        rank: k, columns of Y; one int or one for each layer. Defaults to 8.
        mlp_units: hidden units of the blocks' MLP, or a sequence of them
            for each layer. Defaults to (128,).
        fm: "projected" (X X^T Y) or "full" (X X^T). Defaults to
            "projected".
        bottom_mlp_units: hidden units of the MLPs that embed numeric and
            vector features. Defaults to (64,).
        head_units: hidden units of the MLP from the last layer to the
            logit. Defaults to (128,).
        dropout: rate after every hidden layer of the blocks' MLP and the
            head. Defaults to 0.
        embedding_dropout: rate on X_0, the embeddings. Defaults to 0.
        table_initial_scale: tables start uniform in [-scale, scale].
            Defaults to 0.05.
    """

    model: ClassVar[str] = "wukong"

    features: FeatureSpec
    embedding_dim: int = 16
    num_layers: int = 3
    num_fmb: Sizes = 8
    num_lcb: Sizes = 8
    rank: Sizes = 8
    mlp_units: Units = (128,)
    fm: str = "projected"
    bottom_mlp_units: tuple[int, ...] = (64,)
    head_units: tuple[int, ...] = (128,)
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    table_initial_scale: float = 0.05

    def __post_init__(self):
        where = "model wukong"
        _check_features(where, self.features)
        plain.check_int(where, "embedding_dim", self.embedding_dim, 1)
        plain.check_int(where, "num_layers", self.num_layers, 1)
        for field in ("num_fmb", "num_lcb", "rank"):
            value = plain.frozen(getattr(self, field))
            object.__setattr__(self, field, value)
            self._check_sizes(where, field, value)
        object.__setattr__(self, "mlp_units", plain.frozen(self.mlp_units))
        self._check_mlp_units(where)
        for field in ("bottom_mlp_units", "head_units"):
            object.__setattr__(self, field, plain.frozen(getattr(self, field)))
            plain.check_units(where, field, getattr(self, field))
        plain.check_choice(where, "fm", self.fm, FM_KINDS)
        for field in ("dropout", "embedding_dropout"):
            plain.check_float(where, field, getattr(self, field))
            if not 0 <= getattr(self, field) < 1:
                raise ConfigError(
                    f"{where}: `{field}` must be in [0, 1); received "
                    f"{getattr(self, field)}."
                )
        _check_scale(where, self.table_initial_scale)

    def _check_sizes(self, where, field, value):
        values = value if isinstance(value, tuple) else (value,)
        for item in values:
            plain.check_int(where, field, item, 1)
        self._check_one_a_layer(where, field, value)

    def _check_mlp_units(self, where):
        units = self.mlp_units
        nested = isinstance(units, tuple) and any(
            isinstance(item, tuple) for item in units
        )
        for item in units if nested else (units,):
            plain.check_units(where, "mlp_units", item)
        if nested:
            self._check_one_a_layer(where, "mlp_units", units)

    def _check_one_a_layer(self, where, field, value):
        if isinstance(value, tuple) and len(value) != self.num_layers:
            raise ConfigError(
                f"{where}: `{field}` must be one value or one for each of "
                f"the {self.num_layers} layers; received {value}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values, with its model's name."""
        return {"model": self.model, **plain.to_dict(self, defaults=True)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WukongConfig":
        """The configuration described by `data`; unknown keys are errors."""
        return plain.from_dict(cls, _without_model(cls, data), "model wukong")


@dataclasses.dataclass(frozen=True)
class LogisticRegressionConfig:
    """Features of a logistic regression, the weakest baseline.

    Args:
        features: the columns; tables' widths are not used, each id has one
            weight.
        table_initial_scale: weights of ids start uniform in
            [-scale, scale]. Defaults to 0.
    """

    model: ClassVar[str] = "logistic_regression"

    features: FeatureSpec
    table_initial_scale: float = 0.0

    def __post_init__(self):
        where = "model logistic_regression"
        _check_features(where, self.features)
        _check_scale(where, self.table_initial_scale)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values, with its model's name."""
        return {"model": self.model, **plain.to_dict(self, defaults=True)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LogisticRegressionConfig":
        """The configuration described by `data`; unknown keys are errors."""
        where = "model logistic_regression"
        return plain.from_dict(cls, _without_model(cls, data), where)


ModelConfig = WukongConfig | LogisticRegressionConfig
MODEL_CONFIGS: dict[str, Any] = {
    config.model: config for config in (WukongConfig, LogisticRegressionConfig)
}


def model_config_from_dict(data: dict[str, Any]) -> ModelConfig:
    """The model configuration in `data`, whose "model" key names its kind."""
    name = data.get("model") if isinstance(data, dict) else None
    if not isinstance(name, str) or name not in MODEL_CONFIGS:
        raise ConfigError(
            f"model configuration: `model` must be one of "
            f"{sorted(MODEL_CONFIGS)}; received {name!r}."
        )
    return MODEL_CONFIGS[name].from_dict(data)


def _without_model(cls, data):
    if not isinstance(data, dict):
        raise ConfigError(
            f"model {cls.model}: expected an object; received {data!r}."
        )
    if data.get("model", cls.model) != cls.model:
        raise ConfigError(
            f"model {cls.model}: received the configuration of model "
            f"{data['model']!r}."
        )
    return {key: value for key, value in data.items() if key != "model"}


def _check_features(where, value):
    if not isinstance(value, FeatureSpec):
        raise ConfigError(
            f"{where}: `features` must be a FeatureSpec; received {value!r}."
        )


def _check_scale(where, value):
    plain.check_float(where, "table_initial_scale", value)
    if value < 0:
        raise ConfigError(
            f"{where}: `table_initial_scale` must be at least 0; received "
            f"{value}."
        )
