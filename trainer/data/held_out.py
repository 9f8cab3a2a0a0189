"""Describes the rows that a run held out, so that they can be reopened."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from trainer.data.block_log import BlockLog
from trainer.data.file_source import FileSource
from trainer.data.interaction_log import InteractionLog
from trainer.data.parquet import ParquetSource
from trainer.data.paths import expand
from trainer.data.source import Source
from trainer.data.synthetic import SyntheticLog
from trainer.data.synthetic_source import SyntheticSource
from trainer.data.tfrecord import TFRecordSource
from trainer.settings import Interactions
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ContentError, DataError
from wukong_tf.rows.bad_values import BadValues, Count

RECORD_NAMES = (".tfrecord", ".tfrecords")


def open_files(
    files: Sequence[str], features: FeatureSpec, **options
) -> FileSource:
    """Returns a source of Parquet or TFRecord files.

    Args:
        files: paths or globs, all of one format, determined by extension.
        features: the spec.
        **options: further arguments of `FileSource`.

    Raises:
        DataError: as in `FileSource`, or the files are of both formats.
    """
    paths = expand(files)
    records = [p for p in paths if p.lower().endswith(RECORD_NAMES)]
    if records and len(records) < len(paths):
        other = next(p for p in paths if p not in records)
        raise DataError(
            f"{records[0]} and {other}: the files of a split must be all "
            "Parquet or all TFRecord."
        )
    kind = TFRecordSource if records else ParquetSource
    return kind(files, features, **options)


def describe(split: str, source: Source) -> dict[str, Any]:
    """Returns a description of a split as JSON values, for `reopen`.

    Files are named by absolute paths: they can be reopened only on the same
    machine or shared disk.
    """
    if isinstance(source, SyntheticSource):
        log = source.log
        fields: dict[str, Any] = {
            "seed": log.seed,
            "tasks": list(log.tasks),
            "rows": source.num_rows,
            "digest": log.digest(split),
        }
        if isinstance(log, InteractionLog):
            fields["interactions"] = dataclasses.asdict(log.sizes)
        return {"split": split, "synthetic": fields}
    assert isinstance(source, FileSource)
    content: dict[str, Any] = {
        "split": split,
        "files": [os.path.abspath(path) for path in source.paths],
    }
    if isinstance(source.bad, Count):
        content["max_bad_fraction"] = source.bad.max_fraction
    return content


def reopen(path: str, spec: FeatureSpec) -> Source:
    """Opens the split that the file at `path` describes.

    Args:
        path: a JSON file with the result of `describe`.
        spec: the features.

    Raises:
        DataError: the file or the rows that it names cannot be read.
        ContentError: a synthetic log has other rows than the run had.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if "synthetic" in content:
            return _reopen_synthetic(path, content)
        files = list(content["files"])
        bad: dict[str, BadValues] = {}
        if "max_bad_fraction" in content:
            bad["bad"] = Count(content["max_bad_fraction"])
    except ContentError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is not a valid record of held-out rows: {error}."
        ) from error
    return open_files(files, spec, **bad)


def _reopen_synthetic(path, content):
    """Opens the split of a synthetic log, which must have the same rows."""
    split, fields = content["split"], content["synthetic"]
    log: BlockLog
    if "interactions" in fields:
        sizes = Interactions(**fields["interactions"])
        log = InteractionLog(fields["seed"], sizes)
    else:
        log = SyntheticLog(fields["seed"], tuple(fields["tasks"]))
    now = log.digest(split)
    before = fields.get("digest", now)  # older versions wrote none
    if before != now:
        raise ContentError(
            f"{path}: this version of wukong_tf or NumPy generates other "
            f"{split} rows of the synthetic log than the run had: their digest "
            f"was {before}, is {now}. Use the versions that trained the run."
        )
    return SyntheticSource(log, split, fields["rows"])
