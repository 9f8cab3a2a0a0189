"""A run directory: its configuration, its checkpoints, its trained model."""

from wukong_tf.runs.checkpoint import (
    BEST,
    CHECKPOINTS,
    INDEX,
    Checkpoint,
    best_step,
    check_owner,
    checkpoint_paths,
    digest,
    find_checkpoint,
    open_checkpoint,
)
from wukong_tf.runs.loading import load_run, parse_keep_units
from wukong_tf.runs.run_directory import (
    CONFIG,
    DATA,
    FEATURES,
    FORMAT,
    HELD_OUT,
    PREPARATION,
    SAMPLES,
    identity,
    read_config,
    read_features,
    read_model_config,
)

__all__ = [
    "BEST",
    "CHECKPOINTS",
    "CONFIG",
    "DATA",
    "FEATURES",
    "FORMAT",
    "HELD_OUT",
    "INDEX",
    "PREPARATION",
    "SAMPLES",
    "Checkpoint",
    "best_step",
    "check_owner",
    "checkpoint_paths",
    "digest",
    "find_checkpoint",
    "identity",
    "load_run",
    "open_checkpoint",
    "parse_keep_units",
    "read_config",
    "read_features",
    "read_model_config",
]
