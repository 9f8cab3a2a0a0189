"""Settings of `python -m trainer.prepare`."""

import dataclasses
from typing import Literal

from absl import flags

from trainer.preparation import datasets
from trainer.settings import fields
from trainer.settings.fields import Settings, setting

DATASETS = (*sorted(datasets.KNOWN), *datasets.GENERIC)


@dataclasses.dataclass(frozen=True)
class Prepare(Settings):
    """Preparation of a data set.

    Args:
        given: names of the flags that the user gave. Defaults to none.
    """

    dataset: Literal[DATASETS] = setting(  # type: ignore[valid-type]
        None,
        "The data set that --input holds, or csv or parquet for any other. "
        "Needed.",
        needed=True,
    )
    input: str = setting(
        None,
        "Directory of the data set's own files. For csv and parquet: "
        "train*, valid* and test* files; with --vocabularies a file, or a "
        "directory of files of any names. Needed.",
        needed=True,
    )
    output: str = setting(
        None,
        "Directory to make: features.json, manifest.json, and Parquet shards "
        "of each split. Must not exist. Needed.",
        needed=True,
    )
    recipe: str | None = setting(
        None,
        "For csv and parquet: JSON file that says what is made of the "
        "columns. Default: that of --extend, else it is guessed from the "
        "first rows; it is written as recipe.json.",
    )
    label: str | None = setting(
        None, "For csv and parquet without --recipe: column of the label."
    )
    separator: str | None = setting(
        None, "For csv without --recipe: separator of the values of bags."
    )
    delimiter: str | None = setting(
        None,
        "For csv: the character between fields, or tab. Default: of comma, "
        "semicolon, tab and |, the one that divides a file's first lines "
        "alike.",
    )
    integer_rule: Literal["log2", "squared_log"] = setting(
        "log2",
        "For criteo_kaggle: what an integer x above 2 becomes, the floor of "
        "log2 x or of ln(x)^2.",
    )
    vocabularies: str | None = setting(
        None,
        "Directory of an earlier preparation, or of a run. Its recipe, "
        "vocabularies and statistics are taken as they are: each row of "
        "--input is encoded as theirs were, in order, with or without a "
        "label.",
    )
    extend: str | None = setting(
        None,
        "Directory of an earlier preparation. Its vocabularies come first, in "
        "their order, so that ids keep their meaning; new values follow.",
    )
    min_count: int | None = setting(
        None,
        "Values seen in fewer train rows are out of vocabulary. Default: "
        "what is published for the data set, or 1.",
        minimum=1,
    )
    max_vocabulary: int | None = setting(
        None,
        "Most values of a table with an id of their own; the rarest "
        "others are out of vocabulary. Default: no limit.",
        minimum=1,
    )
    oov_buckets: int = setting(
        1, "Ids for values out of vocabulary.", minimum=1
    )
    shard_mb: int = setting(
        64, "About so many 10^6 bytes are one shard.", minimum=1
    )
    workers: int | None = setting(
        None,
        "Processes. Default: one for each CPU. Each holds one shard.",
        minimum=1,
    )
    runner: str | None = setting(
        None,
        "Apache Beam runner, such as DirectRunner. Default: processes of "
        "this machine.",
    )
    beam_option: tuple[str, ...] = setting(
        (),
        "Option of the Beam runner, such as --beam_option=--region=....",
        repeated=True,
    )
    given: frozenset[str] = frozenset()


def define(values: flags.FlagValues):
    """Defines the flags of a preparation."""
    fields.define(Prepare, values)
