"""Opens the splits that the flags name."""

import os

from absl import flags

from trainer.data.held_out import open_files
from trainer.data.source import Source
from trainer.data.synthetic import SyntheticLog, SyntheticSource
from trainer.run_config import (
    SPLITS,
    features_from_flags,
    files_of_split,
    with_overrides,
)
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.rows.bad_values import REFUSE, BadValues, Count


def open_features(values: flags.FlagValues) -> FeatureSpec:
    """The feature spec of the data that the flags name."""
    if values.synthetic:
        features = _synthetic_log(values).spec
    else:
        features = features_from_flags(values)
    return with_overrides(values, features)


def features_folder(values: flags.FlagValues) -> str | None:
    """The directory of the data's features.json, if they are files."""
    if values.synthetic:
        return None
    if values.features:
        return os.path.dirname(values.features) or "."
    return str(values.data_dir)


def rows_of_train(
    values: flags.FlagValues, features: FeatureSpec
) -> int | None:
    """Rows of the train split, or None where no files are named."""
    if values.synthetic:
        return int(values.synthetic_train_rows)
    files = files_of_split(values, "train")
    return open_files(files, features).num_rows if files else None


def bad_values(values: flags.FlagValues) -> BadValues:
    """What --on_bad_value says to do, with counters of its own."""
    if values.on_bad_value == "count":
        return Count(values.max_bad_fraction)
    return REFUSE


def _synthetic_log(values):
    return SyntheticLog(
        seed=values.synthetic_seed, tasks=tuple(values.synthetic_tasks)
    )


def open_sources(
    values: flags.FlagValues, features: FeatureSpec
) -> dict[str, Source]:
    """The splits that there are, by name: "train", "valid", "test".

    Raises:
        ConfigError: training was asked for without a split it needs.
        DataError: a file is missing, empty or does not fit the spec.
    """
    if values.synthetic:
        log = _synthetic_log(values)
        return {
            split: SyntheticSource(
                log, split, int(values[f"synthetic_{split}_rows"].value or 0)
            )
            for split in SPLITS
        }
    sources: dict[str, Source] = {}
    for split in SPLITS:
        files = files_of_split(values, split)
        if files:
            sources[split] = open_files(
                files,
                features,
                shuffle_rows=values.shuffle_rows if split == "train" else 0,
                seed=values.seed,
                in_order=values.eval == "progressive",
                lanes=values.data_lanes if split == "train" else 1,
                bad=bad_values(values),
            )
    if values.mode == "train":
        needed = ["train"]
        if values.eval != "progressive":
            needed.append("valid")
        for split in needed:
            if split not in sources:
                raise ConfigError(
                    f"--mode=train needs {split} rows; give --data_dir with "
                    f"{split}*.parquet in it, or --{split}_files."
                )
    return sources
