"""Wukong and its baselines, with one interface."""

from typing import Any

from wukong_tf.config import ModelConfig
from wukong_tf.errors import ConfigError
from wukong_tf.models.baselines import (
    DLRM,
    DCNv2,
    FactorizationMachine,
    MLPModel,
)
from wukong_tf.models.click_model import ClickModel
from wukong_tf.models.logistic_regression import LogisticRegression
from wukong_tf.models.rank_mixer import RankMixer
from wukong_tf.models.wukong import Wukong

__all__ = [
    "DLRM",
    "ClickModel",
    "DCNv2",
    "FactorizationMachine",
    "LogisticRegression",
    "MLPModel",
    "RankMixer",
    "Wukong",
    "build_model",
]

_MODELS: dict[str, type[ClickModel]] = {
    "wukong": Wukong,
    "logistic_regression": LogisticRegression,
    "fm": FactorizationMachine,
    "mlp": MLPModel,
    "dlrm": DLRM,
    "dcn_v2": DCNv2,
    "rank_mixer": RankMixer,
}


def build_model(config: ModelConfig, **kwargs: Any) -> ClickModel:
    """Builds the model that `config` describes, with its weights.

    Args:
        config: a WukongConfig or another model's configuration.
        **kwargs: `lookup`, `dtype`, `name` and `host_tables`, as the models
            take them, and `remat` for a Wukong.

    Raises:
        ConfigError: the sizes do not fit together, such as a rank above the
            number of embeddings, or the lookup engine cannot be imported.
    """
    try:
        return _MODELS[config.model](config, **kwargs)
    except ConfigError:
        raise
    except (ValueError, ImportError) as error:
        raise ConfigError(f"model {config.model}: {error}") from error
