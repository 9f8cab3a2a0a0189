"""Opens the splits that the flags name."""

from absl import flags

from trainer.data.parquet import ParquetSource
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


def open_features(values: flags.FlagValues) -> FeatureSpec:
    """The feature spec of the data that the flags name."""
    if values.synthetic:
        features = _synthetic_log(values).spec
    else:
        features = features_from_flags(values)
    return with_overrides(values, features)


def rows_of_train(
    values: flags.FlagValues, features: FeatureSpec
) -> int | None:
    """Rows of the train split, or None where no files are named."""
    if values.synthetic:
        return int(values.synthetic_train_rows)
    files = files_of_split(values, "train")
    return ParquetSource(files, features).num_rows if files else None


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
            sources[split] = ParquetSource(
                files,
                features,
                shuffle_rows=values.shuffle_rows if split == "train" else 0,
                seed=values.seed,
            )
    if values.mode == "train":
        for split in ("train", "valid"):
            if split not in sources:
                raise ConfigError(
                    f"--mode=train needs {split} rows; give --data_dir with "
                    f"{split}*.parquet in it, or --{split}_files."
                )
    return sources
