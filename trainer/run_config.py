"""The flags of one run as a checked, frozen value."""

import dataclasses
import glob
import os
from typing import Any

from absl import flags

from wukong_tf.config import (
    FeatureSpec,
    LogisticRegressionConfig,
    ModelConfig,
    WukongConfig,
)
from wukong_tf.errors import ConfigError, DataError

# Flags that say how long to train or what to keep, not what is trained: a
# run may go on under other values of them.
FREE_ON_RESUME = (
    "epochs",
    "max_steps",
    "steps_per_loop",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "patience",
)
TRAINING = (
    "batch_size",
    "learning_rate",
    "table_learning_rate",
    "embedding_l2",
    "warmup_steps",
    "clipnorm",
    "seed",
    "eval_batch_size",
    "eval_every_steps",
    "early_stopping_metric",
    "shuffle_rows",
    "lookup",
    "precision",
    "deterministic",
    *FREE_ON_RESUME,
)
MODEL = (
    "embedding_dim",
    "num_layers",
    "num_fmb",
    "num_lcb",
    "rank",
    "mlp_units",
    "fm",
    "bottom_mlp_units",
    "head_units",
    "dropout",
    "embedding_dropout",
    "table_initial_scale",
)
SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Training:
    """How to train, named and described as the flags are."""

    batch_size: int
    learning_rate: float
    table_learning_rate: float
    embedding_l2: float
    warmup_steps: int
    clipnorm: float
    seed: int
    eval_batch_size: int
    eval_every_steps: int
    early_stopping_metric: str
    shuffle_rows: int
    lookup: str
    precision: str
    deterministic: bool
    epochs: int
    max_steps: int
    steps_per_loop: int
    checkpoint_every_steps: int
    keep_checkpoints: int
    patience: int

    def __post_init__(self):
        for name in ("learning_rate", "table_learning_rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"--{name} must be above 0; received {getattr(self, name)}."
                )
        for name in ("embedding_l2", "clipnorm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"--{name} must be at least 0; received "
                    f"{getattr(self, name)}."
                )


def training_from_flags(values: flags.FlagValues) -> Training:
    """The training part of the flags."""
    settings: dict[str, Any] = {name: values[name].value for name in TRAINING}
    return Training(**settings)


def check_flags(values: flags.FlagValues):
    """Refuses flags that contradict each other.

    Raises:
        ConfigError: naming the flags.
    """
    if values.mode != "plan" and not values.run_dir:
        raise ConfigError(f"--mode={values.mode} needs --run_dir.")
    files = ["data_dir", "features", *(f"{split}_files" for split in SPLITS)]
    given = [name for name in files if values[name].present]
    if values.synthetic and given:
        raise ConfigError(
            f"--synthetic contradicts --{given[0]}: the rows come either "
            "from the synthetic log or from files."
        )
    if not values.synthetic:
        _refuse(values, "--synthetic is not set", "synthetic_")
    for name, modes in (
        ("predict_files", ("predict",)),
        ("output", ("eval", "predict")),
        ("keep_units", ("eval", "predict")),
    ):
        if values[name].present and values.mode not in modes:
            raise ConfigError(
                f"--{name} contradicts --mode={values.mode}; it belongs to "
                f"--mode={' or '.join(modes)}."
            )
    if values.mode == "predict" and not (
        values.predict_files and values.output
    ):
        raise ConfigError("--mode=predict needs --predict_files and --output.")
    if values.model != "wukong":
        for name in MODEL[:-1]:
            if values[name].present:
                raise ConfigError(
                    f"--{name} contradicts --model={values.model}; it is a "
                    "size of Wukong."
                )


def _refuse(values, why, prefix):
    for name in values:
        if name.startswith(prefix) and values[name].present:
            raise ConfigError(f"--{name} is given, but {why}.")


def model_from_flags(
    values: flags.FlagValues, features: FeatureSpec
) -> ModelConfig:
    """The model that the flags describe, over `features`."""
    scale = {}
    if values.table_initial_scale is not None:
        scale["table_initial_scale"] = values.table_initial_scale
    if values.model == "logistic_regression":
        return LogisticRegressionConfig(features, **scale)
    sizes: dict[str, Any] = {}
    for name in ("num_fmb", "num_lcb", "rank"):
        numbers = _integers(name, values[name].value)
        sizes[name] = numbers[0] if len(numbers) == 1 else numbers
    for name in ("mlp_units", "bottom_mlp_units", "head_units"):
        sizes[name] = _integers(name, values[name].value)
    return WukongConfig(
        features,
        embedding_dim=values.embedding_dim,
        num_layers=values.num_layers,
        fm=values.fm,
        dropout=values.dropout,
        embedding_dropout=values.embedding_dropout,
        **sizes,
        **scale,
    )


def _integers(name, texts):
    try:
        return tuple(int(text) for text in texts if text != "")
    except ValueError as error:
        raise ConfigError(
            f"--{name} must hold integers; received {','.join(texts)!r}."
        ) from error


def features_from_flags(values: flags.FlagValues) -> FeatureSpec:
    """The feature spec that --features or --data_dir points at."""
    path = values.features
    if path is None:
        if values.data_dir is None:
            raise ConfigError(
                "no data: give --data_dir, or --features and --train_files, "
                "or --synthetic."
            )
        path = os.path.join(values.data_dir, "features.json")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"feature spec {path}: {error}.") from error
    return FeatureSpec.from_json(text, path)


def files_of_split(values: flags.FlagValues, split: str) -> list[str]:
    """The paths or globs of a split; empty where the run has none of it."""
    given = values[f"{split}_files"].value
    if given:
        return list(given)
    if values.data_dir is None:
        return []
    pattern = os.path.join(values.data_dir, f"{split}*.parquet")
    return [pattern] if glob.glob(pattern) else []
