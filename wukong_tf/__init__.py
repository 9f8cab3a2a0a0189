"""Wukong (arXiv 2403.02545) for Keras 3 and TensorFlow.

`wukong_tf.layers` has the blocks, `wukong_tf.Wukong` the model, and
`wukong_tf.load_run` loads a trained one. Each is imported on first use, so the
layers need only Keras.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "CategoricalFeature": "wukong_tf.config",
    "DCNv2Config": "wukong_tf.config",
    "DLRMConfig": "wukong_tf.config",
    "EmbeddingGroup": "wukong_tf.config",
    "FactorizationMachineConfig": "wukong_tf.config",
    "FeatureSpec": "wukong_tf.config",
    "LogisticRegression": "wukong_tf.models",
    "LogisticRegressionConfig": "wukong_tf.config",
    "MLPConfig": "wukong_tf.config",
    "NumericFeature": "wukong_tf.config",
    "RankMixerConfig": "wukong_tf.config",
    "RowwiseAdagrad": "wukong_tf.optimizers",
    "TableAdam": "wukong_tf.optimizers",
    "TableSettings": "wukong_tf.config",
    "Task": "wukong_tf.config",
    "VectorFeature": "wukong_tf.config",
    "Wukong": "wukong_tf.models",
    "WukongConfig": "wukong_tf.config",
    "build_model": "wukong_tf.models",
    "load_run": "wukong_tf.runs",
    "table_optimizer": "wukong_tf.optimizers",
    # Submodules.
    "columns": "wukong_tf.columns",
    "config": "wukong_tf.config",
    "embeddings": "wukong_tf.embeddings",
    "errors": "wukong_tf.errors",
    "features": "wukong_tf.features",
    "interop": "wukong_tf.interop",
    "layers": "wukong_tf.layers",
    "metrics": "wukong_tf.metrics",
    "models": "wukong_tf.models",
    "optimizers": "wukong_tf.optimizers",
    "runs": "wukong_tf.runs",
    "scaling": "wukong_tf.scaling",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wukong_tf' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if home.__name__ == f"wukong_tf.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return __all__
