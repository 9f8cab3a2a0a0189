"""Frozen, validated configurations of data and models, to and from JSON.

A `FeatureSpec` describes the columns of a row; a model configuration holds a
spec and the sizes of one model. Both are saved with every checkpoint and every
exported version.
"""

from typing import Any

from wukong_tf.config.baseline_configs import (
    DCNv2Config,
    DLRMConfig,
    FactorizationMachineConfig,
    LogisticRegressionConfig,
    MLPConfig,
    RankMixerConfig,
)
from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.config.features import (
    EmbeddingGroup,
    NumericFeature,
    TableSettings,
    Task,
    VectorFeature,
)
from wukong_tf.config.model_config import EmbeddingModelConfig, ModelConfig
from wukong_tf.config.wukong_config import WukongConfig, sizes_for
from wukong_tf.errors import ConfigError

__all__ = [
    "MODEL_CONFIGS",
    "CategoricalFeature",
    "DCNv2Config",
    "DLRMConfig",
    "EmbeddingGroup",
    "EmbeddingModelConfig",
    "FactorizationMachineConfig",
    "FeatureSpec",
    "LogisticRegressionConfig",
    "MLPConfig",
    "ModelConfig",
    "NumericFeature",
    "RankMixerConfig",
    "TableSettings",
    "Task",
    "VectorFeature",
    "WukongConfig",
    "model_config_from_dict",
    "sizes_for",
]

MODEL_CONFIGS: dict[str, type[ModelConfig]] = {
    config.model: config
    for config in (
        WukongConfig,
        LogisticRegressionConfig,
        FactorizationMachineConfig,
        MLPConfig,
        DLRMConfig,
        DCNv2Config,
        RankMixerConfig,
    )
}
"""Classes of model configurations, by the name of their kind."""


def model_config_from_dict(data: dict[str, Any]) -> ModelConfig:
    """Returns the model configuration in `data`; "model" names its kind.

    Args:
        data: the result of a configuration's `to_dict`, also of an older
            version: what it lacks has the value that models had then.
    """
    name = data.get("model") if isinstance(data, dict) else None
    if not isinstance(name, str) or name not in MODEL_CONFIGS:
        raise ConfigError(
            f"model configuration: `model` must be one of "
            f"{sorted(MODEL_CONFIGS)}; received {name!r}."
        )
    return MODEL_CONFIGS[name].from_dict(data)
