"""Opens the splits that the settings name."""

from trainer.data.block_log import BlockLog
from trainer.data.held_out import open_files
from trainer.data.interaction_log import InteractionLog
from trainer.data.source import Source
from trainer.data.synthetic import SyntheticLog
from trainer.data.synthetic_source import SyntheticSource
from trainer.settings import SPLITS, Data, Settings
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.rows.bad_values import REFUSE, BadValues, Count


def open_features(settings: Settings) -> FeatureSpec:
    """Returns the feature spec of the data with the settings' overrides."""
    data = settings.data
    if data.synthetic:
        spec = _synthetic(settings).spec
    else:
        spec = data.read_features()
    return settings.features.applied_to(spec)


def num_train_rows(data: Data, features: FeatureSpec) -> int | None:
    """Returns the number of train rows, or None if no files are named."""
    if data.synthetic:
        return data.synthetic_train_rows
    files = data.files("train")
    return open_files(files, features).num_rows if files else None


def bad_values(data: Data) -> BadValues:
    """Returns a new handler of bad values, as set by --on_bad_value."""
    if data.on_bad_value == "count":
        return Count(data.max_bad_fraction)
    return REFUSE


def _synthetic(settings) -> BlockLog:
    data = settings.data
    if data.synthetic_log == "interactions":
        return InteractionLog(data.synthetic_seed, settings.interactions)
    return SyntheticLog(data.synthetic_seed, data.synthetic_tasks)


def open_sources(
    settings: Settings, features: FeatureSpec
) -> dict[str, Source]:
    """Opens the splits of --splits, by name: "train", "valid", "test".

    Raises:
        ConfigError: a split that training needs is not given.
        DataError: a file is missing, empty or does not fit the spec.
    """
    data, training = settings.data, settings.training
    log = _synthetic(settings)
    sources: dict[str, Source] = {}
    for split in SPLITS:
        if split not in data.splits:
            continue
        if data.synthetic:
            sources[split] = SyntheticSource(
                log, split, getattr(data, f"synthetic_{split}_rows")
            )
        elif files := data.files(split):
            sources[split] = open_files(
                files,
                features,
                shuffle_rows=training.shuffle_rows if split == "train" else 0,
                seed=training.seed,
                in_order=training.eval == "progressive",
                lanes=training.data_lanes if split == "train" else 1,
                bad=bad_values(data),
            )
    if settings.run.mode == "train":
        _check_needed(settings, sources)
    return sources


def _check_needed(settings, sources):
    """Raises ConfigError if a split that training needs is not open."""
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
        if split not in sources:
            raise ConfigError(
                f"{flag} needs {split} rows; give --data_dir with "
                f"{split}*.parquet in it, or --{split}_files."
            )
