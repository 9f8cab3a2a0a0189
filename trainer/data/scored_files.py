"""Opens files to be scored: ids, requests or raw logs."""

import dataclasses
import os
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.data.file_source import FileSource
from trainer.data.held_out import RECORD_NAMES
from trainer.data.parquet import ParquetSource
from trainer.data.tfrecord import TFRecordSource
from trainer.preparation.recorded import Preparation
from trainer.preparation.requests import KEPT, write_rows
from wukong_tf.config import FeatureSpec, encodings
from wukong_tf.errors import DataError, one_line
from wukong_tf.rows.bad_values import REFUSE, BadValues


@dataclasses.dataclass(frozen=True)
class ScoredFile:
    """A file to be scored.

    Args:
        path: the file.
        source: its rows; None if it has none.
        parquet: the file itself, or the Parquet file converted from it.
        prefix: prefix of the names of its own columns in `parquet`.
            Defaults to "".
        notes: warnings about the file. Defaults to ().
    """

    path: str
    source: FileSource | None
    parquet: str
    prefix: str = ""
    notes: tuple[str, ...] = ()

    @property
    def holds_requests(self) -> bool:
        """Whether its rows have the form of requests, with raw values."""
        return self.source is not None and not any(
            feature.encoded for feature in self.source.spec.categorical
        )


def open_to_score(
    path: str,
    spec: FeatureSpec,
    preparation: Preparation | None,
    folder: str,
    *,
    keep: Sequence[str] = (),
    requests: bool = False,
    bad: BadValues = REFUSE,
) -> ScoredFile:
    """Opens a file of ids, of rows in the form of requests, or of a raw log.

    A raw log is text, or a Parquet file with the columns that the model's
    preparation read and without metadata on how ids were encoded.

    Args:
        path: the file.
        spec: the model's features.
        preparation: the preparation of the model's data; None if unknown.
        folder: an empty directory, for Parquet converted from a raw log.
        keep: columns of the file that are passed on. Defaults to (), none.
        requests: whether Parquet that is not a raw log, and whose metadata
            does not say, has the form of requests. Defaults to False: only
            if an id column holds strings.
        bad: handles values that break rules. Defaults to raising an error,
            as raw logs always do.

    Raises:
        DataError: the file cannot be read, does not fit the features, or
            holds ids of another preparation.
    """
    if path.lower().endswith(RECORD_NAMES):
        if not os.path.getsize(path):
            return ScoredFile(path, None, path)
        records = TFRecordSource([path], spec, labels=False, bad=bad)
        return ScoredFile(path, records, path)
    schema, rows = _parquet(path)
    if rows == 0:
        return ScoredFile(path, None, path)
    if schema is None or _is_log(schema, spec, preparation):
        return _open_log(path, spec, preparation, folder, keep)
    if _holds_requests(schema, spec, requests):
        spec = spec.as_requests()
    source = ParquetSource([path], spec, labels=False, bad=bad)
    return ScoredFile(path, source, path)


def _parquet(path) -> tuple[pa.Schema | None, int | None]:
    """Returns a Parquet file's schema and rows; (None, None) if it is none."""
    with open(path, "rb") as file:
        begins = file.read(4)
    if not begins:
        return None, 0
    if begins != b"PAR1":
        return None, None
    try:
        with pq.ParquetFile(path) as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet: {one_line(error)}"
        ) from error


def _is_log(schema, spec, preparation):
    """Returns whether a Parquet file is input, not output, of preparation."""
    if preparation is None or encodings.read(schema.metadata) is not None:
        return False
    columns = preparation.recipe.columns
    sources = {
        c.key or c.column for c in columns if c.name in spec.feature_names
    }
    names = set(schema.names)
    return sources <= names or not set(spec.feature_names) <= names


def _holds_requests(schema, spec, default):
    """Returns whether rows are requests, by the metadata or column types."""
    note = encodings.read(schema.metadata)
    if note is not None:
        return not note
    if default:
        return True
    for feature in spec.categorical:
        if feature.encoded and feature.name in schema.names:
            kind = schema.field(feature.name).type
            if feature.pooling and hasattr(kind, "value_type"):
                kind = kind.value_type
            if not pa.types.is_integer(kind):
                return True
    return False


def _open_log(path, spec, preparation, folder, keep):
    if preparation is None:
        raise DataError(
            f"{path}: is not a Parquet file, and raw files need the "
            "recipe.json of trainer.prepare, which the model's data do not "
            "have. Give rows as Parquet, with ids or in the form of requests."
        )
    converted = os.path.join(folder, "rows.parquet")
    preparation = preparation.for_model(path, spec)
    rows, notes = write_rows(path, converted, preparation, spec, keep)
    source = None
    if rows:
        source = ParquetSource([converted], spec.as_requests(), labels=False)
    return ScoredFile(path, source, converted, KEPT, tuple(notes))
