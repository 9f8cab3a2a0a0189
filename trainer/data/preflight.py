"""Checks of the data before the first step."""

import os

from trainer.data.content import outline
from trainer.data.file_source import FileSource
from trainer.data.source import Source
from wukong_tf.errors import ConfigError, DataError
from wukong_tf.rows.bad_values import Count

SAMPLE_ROWS = 8192
SHOWN = 8  # columns whose range is reported


def check_splits(
    splits: dict[str, Source], *, allow_overlap: bool = False
) -> list[str]:
    """Checks files, labels and ids of the splits.

    Args:
        splits: the sources by split.
        allow_overlap: whether a file may be in "train" and another split.
            Defaults to False.

    Returns:
        Lines that describe the files, label rates and id ranges.

    Raises:
        ConfigError: a file of the train split is in another split too.
        DataError: the labels of a whole split are all the same, or ids are
            outside their tables, according to the files' statistics.
    """
    lines = []
    if not allow_overlap:
        _check_overlap(splits)
    for split, source in splits.items():
        if not isinstance(source, FileSource):
            continue
        ids = _ids(source)
        lines.append(f"{split}: {len(source.paths)} files; {_labels(source)}")
        if ids:
            lines.append(f"{split}: ids {ids}")
    return lines


def _check_overlap(splits):
    train = splits.get("train")
    if not isinstance(train, FileSource):
        return
    ours = {outline(path): path for path in train.paths}
    for split, source in splits.items():
        if split == "train" or not isinstance(source, FileSource):
            continue
        for path in source.paths:
            other = ours.get(outline(path))
            if other is None:
                continue
            same = os.path.realpath(path) == os.path.realpath(other)
            raise ConfigError(
                f"{path} of the {split} split "
                + ("is" if same else f"has the same content as {other},")
                + " a file of the train split: metrics would be computed on "
                "rows that were trained on. --allow_file_overlap allows it."
            )


def _labels(source: FileSource) -> str:
    """Returns the label rate of each task in the first rows."""
    ranges = source.ranges()
    for task in source.spec.tasks:
        low, high = ranges.get(task.label, (0, 1))
        if low == high and source.num_rows > 1 and not task.missing_labels:
            raise DataError(
                f"{source.paths[0]} and the other files of its split: all "
                f"labels of column {task.label!r} are {low:g}; both classes "
                "are required."
            )
    rows = source.sample(SAMPLE_ROWS)
    rates = []
    for task in source.spec.tasks:
        labels = rows[task.label].to_numpy()
        known = labels[labels == labels]
        rate = f"{known.mean():.4f}" if len(known) else "unknown"
        rates.append(f"{task.label} {rate}")
    return f"label rate of the first {rows.num_rows:,} rows: " + ", ".join(
        rates
    )


def _ids(source: FileSource) -> str:
    """Returns the range of each id column, with its table's rows."""
    ranges = source.ranges()
    texts = []
    for feature in source.spec.categorical:
        if feature.logged_raw or feature.name not in ranges:
            continue
        low, high = ranges[feature.name]
        if (low < 0 or high >= feature.num_ids) and not isinstance(
            source.bad, Count
        ):
            raise DataError(
                f"{source.paths[0]} and the other files of its split: column "
                f"{feature.name!r} has ids from {low:g} to {high:g}, but its "
                f"table has {feature.num_ids} rows, for ids of at least 0 "
                f"and below {feature.num_ids}. --on_bad_value=count reads "
                "such ids as missing."
            )
        texts.append(f"{feature.name} {low:g}-{high:g} of {feature.num_ids:,}")
    more = len(texts) - SHOWN
    return ", ".join(texts[:SHOWN]) + (
        f", and {more} more columns within their tables" if more > 0 else ""
    )


def bad_values(splits: dict[str, Source]) -> dict[str, dict]:
    """Returns the counted bad values of each split, for the report."""
    counted = {}
    for split, source in splits.items():
        bad = getattr(source, "bad", None)
        if isinstance(bad, Count):
            counted[split] = {
                "rows": bad.rows,
                "columns": dict(bad.counts),
                "first": bad.first,
            }
    return counted
