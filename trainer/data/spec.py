"""Reads the feature spec and checks the splits; needs no TensorFlow."""

from collections.abc import Container

from trainer.data.block_log import BlockLog
from trainer.data.interaction_log import InteractionLog
from trainer.data.synthetic import SyntheticLog
from trainer.settings import Settings
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError


def open_features(settings: Settings) -> FeatureSpec:
    """Returns the feature spec of the data with the settings' overrides."""
    return settings.features.applied_to(read_spec(settings))


def read_spec(settings: Settings) -> FeatureSpec:
    """Returns the feature spec of the data, as it lies there."""
    if settings.data.synthetic:
        return synthetic(settings).spec
    return settings.data.read_features()


def synthetic(settings: Settings) -> BlockLog:
    """Returns the synthetic log that the settings describe."""
    data = settings.data
    if data.synthetic_log == "interactions":
        return InteractionLog(data.synthetic_seed, settings.interactions)
    return SyntheticLog(data.synthetic_seed, data.synthetic_tasks)


def check_needed(settings: Settings, splits: Container[str]) -> None:
    """Raises ConfigError if a split that training needs is not in `splits`."""
    training = settings.training
    needed = {"train": "--mode=train"}
    if training.eval != "progressive":
        needed["valid"] = "--mode=train"
    elif training.patience:
        needed["valid"] = "--patience"
    elif training.learning_rate_schedule == "plateau":
        needed["valid"] = "--learning_rate_schedule=plateau"
    for split, flag in needed.items():
        if split not in settings.data.splits:
            raise ConfigError(
                f"{flag} needs {split} rows; --splits must have {split}; "
                f"received {','.join(settings.data.splits)}."
            )
        if split not in splits:
            raise ConfigError(
                f"{flag} needs {split} rows; give --data_dir with "
                f"{split}*.parquet in it, or --{split}_files."
            )
