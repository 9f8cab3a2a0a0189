"""Opens the splits that the settings name."""

from trainer.data.held_out import open_files
from trainer.data.source import Source
from trainer.data.spec import check_needed, synthetic
from trainer.data.synthetic_source import SyntheticSource
from trainer.settings import SPLITS, Data, Settings
from wukong_tf.config import FeatureSpec
from wukong_tf.rows.bad_values import REFUSE, BadValues, Count


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


def open_sources(
    settings: Settings, features: FeatureSpec
) -> dict[str, Source]:
    """Opens the splits of --splits, by name: "train", "valid", "test".

    Raises:
        ConfigError: a split that training needs is not given.
        DataError: a file is missing, empty or does not fit the spec.
    """
    data, training = settings.data, settings.training
    log = synthetic(settings)
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
        check_needed(settings, sources)
    return sources
