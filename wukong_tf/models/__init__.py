"""Wukong and its baselines, all under one contract."""

from wukong_tf.config import ModelConfig
from wukong_tf.models.click_model import ClickModel
from wukong_tf.models.logistic_regression import LogisticRegression
from wukong_tf.models.wukong import Wukong

__all__ = ["ClickModel", "LogisticRegression", "Wukong", "build_model"]

_MODELS = {"wukong": Wukong, "logistic_regression": LogisticRegression}


def build_model(config: ModelConfig, **kwargs) -> ClickModel:
    """The model that `config` describes, with its weights made.

    Args:
        config: a WukongConfig or another model's configuration.
        **kwargs: `lookup`, `dtype` and `name`, as the models take them.
    """
    return _MODELS[config.model](config, **kwargs)
