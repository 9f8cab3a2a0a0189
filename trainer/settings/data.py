"""Settings of the rows that a run reads."""

import dataclasses
import glob
import os
from typing import Literal

from trainer.settings.fields import Settings, setting
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")
_FILES = (
    "Files or globs of the {0} rows, comma-separated: Parquet, or "
    "uncompressed TFRecord of tf.Example (*.tfrecord). Default: "
    "DATA_DIR/{0}*.parquet, or {0}*.tfrecord."
)
_ROWS = "Rows of the synthetic {} split (an epoch of it)."


@dataclasses.dataclass(frozen=True)
class Data(Settings):
    """Data: the rows of a run."""

    data_dir: str | None = setting(
        None,
        "Directory written by trainer.prepare: features.json, and "
        "train*.parquet, valid*.parquet and test*.parquet, or the same as "
        "*.tfrecord.",
    )
    features: str | None = setting(
        None, "Feature spec, a JSON file. Default: DATA_DIR/features.json."
    )
    train_files: tuple[str, ...] | None = setting(None, _FILES.format("train"))
    valid_files: tuple[str, ...] | None = setting(None, _FILES.format("valid"))
    test_files: tuple[str, ...] | None = setting(None, _FILES.format("test"))
    predict_files: tuple[str, ...] | None = setting(
        None,
        "Parquet or TFRecord files or globs to score with --mode=predict; "
        "they need no label column.",
    )
    splits: tuple[str, ...] = setting(
        SPLITS,
        "Splits that the run opens. Without test, the test rows are neither "
        "checked, evaluated nor kept as samples, as in tuning.",
    )
    on_bad_value: Literal["error", "count"] = setting(
        "error",
        "How to handle a value that breaks its column's rule. error: raise "
        "an error that names file, row, column, rule and value. count: read "
        "it as missing, and count it by column.",
    )
    max_bad_fraction: float = setting(
        0.01,
        "With --on_bad_value=count: raise an error if more than this share "
        "of the rows read has a bad value in one column.",
        minimum=0.0,
        maximum=1.0,
    )
    allow_file_overlap: bool = setting(
        False, "Allow a file of the train split in another split too."
    )
    eval_negative_rate: float | None = setting(
        None,
        "Sampling rate of the negatives in the valid and test rows, if it "
        "differs from --negative_rate; 1 if they were not sampled.",
        minimum=0.0,
        maximum=1.0,
    )
    synthetic: bool = setting(
        False,
        "Train on a synthetic click log whose true probabilities are known, "
        "instead of on files.",
    )
    synthetic_log: Literal["polynomial", "interactions"] = setting(
        "polynomial",
        "Synthetic log. polynomial: ids, numbers and a vector each stand for "
        "one number, of whose products the logit is a sum. interactions: ids "
        "stand for vectors, of whose inner products it is a sum.",
    )
    synthetic_train_rows: int = setting(
        2_000_000, _ROWS.format("train"), minimum=1
    )
    synthetic_valid_rows: int = setting(
        100_000, _ROWS.format("valid"), minimum=1
    )
    synthetic_test_rows: int = setting(200_000, _ROWS.format("test"), minimum=1)
    synthetic_tasks: tuple[str, ...] = setting(
        ("click",),
        "Tasks of the synthetic log: click, or click,conversion. Only "
        "clicked rows have a conversion label.",
    )
    synthetic_seed: int = setting(0, "Seed of the synthetic log.", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ConfigError(
                f"--splits must be some of {','.join(SPLITS)}; received "
                f"{','.join(self.splits)!r}."
            )

    def files(self, split: str) -> list[str]:
        """Returns the paths or globs of a split; empty if there are none."""
        given = getattr(self, f"{split}_files")
        if given:
            return list(given)
        if self.data_dir is None:
            return []
        for ending in ("parquet", "tfrecord"):
            folder = glob.escape(self.data_dir)
            pattern = os.path.join(folder, f"{split}*.{ending}")
            if glob.glob(pattern):
                return [pattern]
        return []

    def read_features(self) -> FeatureSpec:
        """Reads the feature spec that --features or --data_dir names.

        Raises:
            ConfigError: neither is given.
            DataError: the file cannot be read or breaks a rule.
        """
        path = self.features
        if path is None:
            if self.data_dir is None:
                raise ConfigError(
                    "no data: give --data_dir, or --features and "
                    "--train_files, or --synthetic."
                )
            path = os.path.join(self.data_dir, "features.json")
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"feature spec {path}: {error}.") from error
        return FeatureSpec.from_json(text, path)

    @property
    def features_folder(self) -> str | None:
        """The directory of the data's features.json, if they are files."""
        if self.synthetic:
            return None
        if self.features:
            return os.path.dirname(self.features) or "."
        return str(self.data_dir)
