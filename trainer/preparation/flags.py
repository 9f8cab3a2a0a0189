"""Every flag of `python -m trainer.prepare`."""

from absl import flags as absl_flags

from trainer.preparation import datasets

DATASETS = (*sorted(datasets.KNOWN), *datasets.GENERIC)


def define_flags(values: absl_flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    define = absl_flags
    define.DEFINE_enum(
        "dataset",
        None,
        DATASETS,
        "The data set that --input holds, or csv or parquet for any other. "
        "Needed.",
        flag_values=values,
    )
    define.DEFINE_string(
        "input",
        None,
        "Directory of the data set's own files. For csv and parquet: "
        "train*, valid* and test* files; with --vocabularies a file, or a "
        "directory of files of any names. Needed.",
        flag_values=values,
    )
    define.DEFINE_string(
        "output",
        None,
        "Directory to make: features.json, manifest.json, and Parquet shards "
        "of each split. Must not exist. Needed.",
        flag_values=values,
    )
    define.DEFINE_string(
        "recipe",
        None,
        "For csv and parquet: JSON file that says what is made of the "
        "columns. Default: it is guessed from the first rows, and written "
        "as recipe.json.",
        flag_values=values,
    )
    define.DEFINE_string(
        "label",
        None,
        "For csv and parquet without --recipe: column of the label.",
        flag_values=values,
    )
    define.DEFINE_string(
        "separator",
        None,
        "For csv without --recipe: what stands between the values of bags.",
        flag_values=values,
    )
    define.DEFINE_string(
        "delimiter",
        None,
        "For csv: the character between fields, or tab. Default: of comma, "
        "semicolon, tab and |, the one that divides a file's first lines "
        "alike.",
        flag_values=values,
    )
    define.DEFINE_enum(
        "integer_rule",
        "log2",
        ("log2", "squared_log"),
        "For criteo_kaggle: what an integer x above 2 becomes, the floor of "
        "log2 x or of ln(x)^2.",
        flag_values=values,
    )
    define.DEFINE_string(
        "vocabularies",
        None,
        "Directory of an earlier preparation, or of a run. Its recipe, "
        "vocabularies and statistics are taken as they are: each row of "
        "--input is encoded as theirs were, in order, with or without a "
        "label.",
        flag_values=values,
    )
    define.DEFINE_string(
        "extend",
        None,
        "Directory of an earlier preparation. Its vocabularies come first, in "
        "their order, so that ids keep their meaning; new values follow.",
        flag_values=values,
    )
    for name, default, least, text in (
        (
            "min_count",
            None,
            1,
            "Values seen in fewer train rows are out of vocabulary. Default: "
            "what is published for the data set, or 1.",
        ),
        (
            "max_vocabulary",
            None,
            1,
            "Most values of a table with an id of their own; the rarest "
            "others are out of vocabulary. Default: no limit.",
        ),
        ("oov_buckets", 1, 1, "Ids for values out of vocabulary."),
        ("shard_mb", 64, 1, "About so many 10^6 bytes are one shard."),
        (
            "workers",
            None,
            1,
            "Processes. Default: one for each CPU. Each holds one shard.",
        ),
    ):
        define.DEFINE_integer(
            name, default, text, lower_bound=least, flag_values=values
        )
    define.DEFINE_string(
        "runner",
        None,
        "Apache Beam runner, such as DirectRunner. Default: processes of "
        "this machine.",
        flag_values=values,
    )
    define.DEFINE_multi_string(
        "beam_option",
        [],
        "Option of the Beam runner, such as --beam_option=--region=....",
        flag_values=values,
    )
