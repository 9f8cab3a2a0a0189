"""Settings of `python -m trainer.prepare`."""

import dataclasses
from typing import Literal

from absl import flags

from trainer.preparation import datasets
from trainer.settings import fields
from trainer.settings.fields import Settings, setting

DATASETS = (*sorted(datasets.KNOWN), *datasets.GENERIC)
# Flags of a guess, which a recipe has fields for.
OF_A_GUESS = ("label", "separator", "positives", "negatives")


@dataclasses.dataclass(frozen=True)
class Prepare(Settings):
    """Preparation of a data set.

    Args:
        given: names of the flags that the user gave. Defaults to none.
    """

    dataset: Literal[DATASETS] = setting(  # type: ignore[valid-type]
        None,
        "Data set in --input, or csv or parquet for any other. Required.",
        needed=True,
    )
    input: str = setting(
        None,
        "Directory of the data set's own files. For csv and parquet: "
        "train*, valid* and test* files; with --vocabularies a file, or a "
        "directory of files with any names. Required.",
        needed=True,
    )
    output: str = setting(
        None,
        "Directory to create: features.json, manifest.json, and Parquet "
        "shards of each split. Must not exist. Required.",
        needed=True,
    )
    recipe: str | None = setting(
        None,
        "For csv and parquet: JSON file that defines the features of the "
        "columns. Default: that of --extend, else guessed from the first "
        "rows; it is written as recipe.json.",
    )
    label: str | None = setting(
        None, "For csv and parquet without --recipe: column of the label."
    )
    separator: str | None = setting(
        None, "For csv without --recipe: separator of the values of bags."
    )
    positives: tuple[str, ...] = setting(
        (),
        "For csv and parquet without --recipe: texts of the label that mean 1, "
        "such as yes,ja. Default: 1, true, t, yes and y.",
    )
    negatives: tuple[str, ...] = setting(
        (),
        "For csv and parquet without --recipe: texts of the label that mean 0. "
        "Default: 0, false, f, no and n.",
    )
    delimiter: str | None = setting(
        None,
        "For csv: delimiter of fields, one character, or tab. Default: of "
        "comma, semicolon, tab and |, the one that divides the first lines "
        "of a file into equally many fields.",
    )
    integer_rule: Literal["log2", "squared_log"] = setting(
        "log2",
        "For criteo_kaggle: transformation of an integer x above 2, the "
        "floor of log2 x or of ln(x)^2.",
    )
    vocabularies: str | None = setting(
        None,
        "Directory of an earlier preparation, or of a run. Its recipe, "
        "vocabularies and statistics are used unchanged to encode each row "
        "of --input, in order, with or without a label.",
    )
    extend: str | None = setting(
        None,
        "Directory of an earlier preparation. Its vocabularies come first, in "
        "their order, so that ids keep their meaning; new values follow.",
    )
    min_count: int | None = setting(
        None,
        "Values in fewer train rows are out of vocabulary. Default: the "
        "published number of the data set, or 1.",
        minimum=1,
    )
    max_vocabulary: int | None = setting(
        None,
        "Maximum number of values of a table with their own id; rarer ones "
        "are out of vocabulary. Default: no limit.",
        minimum=1,
    )
    oov_buckets: int = setting(
        1, "Ids for values out of vocabulary.", minimum=1
    )
    shard_mb: int = setting(
        64, "Approximate size of a shard, in MB of 10^6 bytes.", minimum=1
    )
    workers: int | None = setting(
        None,
        "Number of processes, each of which holds one shard in memory. "
        "Default: one per CPU.",
        minimum=1,
    )
    runner: str | None = setting(
        None,
        "Apache Beam runner, such as DirectRunner. Default: processes of "
        "this machine.",
    )
    beam_option: tuple[str, ...] = setting(
        (),
        "Option of the Beam runner, such as --beam_option=--region=NAME",
        repeated=True,
    )
    given: frozenset[str] = frozenset()


def define(values: flags.FlagValues):
    """Defines the flags of a preparation."""
    fields.define(Prepare, values)
