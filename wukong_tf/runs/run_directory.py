"""Reads the configuration files of a run directory."""

import contextlib
import os
from typing import Any

from wukong_tf.config import (
    FeatureSpec,
    ModelConfig,
    model_config_from_dict,
    schema,
)
from wukong_tf.errors import RunError, WukongError

CONFIG = "config.json"
"""File of the settings of the model, the training and the data."""
FEATURES = "features.json"
"""File of the feature spec."""
SAMPLES = "samples.parquet"
"""File of held-out rows, which exports are compared on."""
HELD_OUT = "held_out.json"
"""File that names the origin of the held-out rows."""
PREPARATION = "preparation.json"
"""File of the recipe that prepared the data."""
DATA = "data.json"
"""File of the sizes and checksums of the data's files."""
FORMAT = 1
"""Version of the format of a run directory and of its checkpoints."""


def read_features(run_dir: str) -> FeatureSpec:
    """Reads the feature spec that the run was trained with."""
    path = os.path.join(run_dir, FEATURES)
    return FeatureSpec.from_json(read_text(path), path)


def read_config(run_dir: str) -> dict[str, Any]:
    """Reads config.json: {"format", "run", "model", "training", "data"}."""
    path = os.path.join(run_dir, CONFIG)
    content = schema.parse_json(read_text(path), path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise RunError(
            f"{path}: expected a run configuration of format {FORMAT}."
        )
    if not isinstance(content.get("model"), dict):
        raise RunError(f"{path}: key 'model' must hold an object.")
    if not isinstance(content.get("run", ""), str):
        raise RunError(f"{path}: key 'run' must hold a string.")
    return content


def read_model_config(run_dir: str) -> ModelConfig:
    """Reads the model's configuration, with the run's features."""
    model = read_config(run_dir)["model"]
    features = read_features(run_dir)
    return model_config_from_dict({**model, "features": features.to_dict()})


def identity(run_dir: str) -> str | None:
    """Returns the random name of a run, or None for older versions."""
    with contextlib.suppress(WukongError):
        name = read_config(run_dir).get("run")
        return name if isinstance(name, str) else None
    return None


def read_text(path: str) -> str:
    """Reads the text of a run's file; raises RunError if it cannot."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}.") from error
