"""Scoring of files with a published version."""

import dataclasses
import json
import os
import sys
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from export.served import naming, requests
from export.version import engines, published
from trainer.data.scored_files import ScoredFile, open_to_score
from trainer.preparation.inputs import is_parquet
from trainer.preparation.recorded import Preparation
from wukong_tf import files, runs
from wukong_tf.errors import DataError, ExportError
from wukong_tf.features import signature

KEY = b"wukong_scores"  # key in a file's metadata


class Scorer:
    """Scores files with one version.

    Files hold ids like the trainer's, values like requests, or a raw log,
    which is prepared by the recipe stored in the version. ONNX takes the ids
    that the trainer's reader returns for all of these. The SavedModel takes
    values like requests, so files of ids are rejected if these are raw.

    Args:
        version: the version.
        engine: "auto", "onnx" or "saved_model".
        batch_size: rows per computation.
        threads: threads per computation; None for all processors.

    Raises:
        ExportError: if the engine cannot load the version.
    """

    def __init__(
        self,
        version: published.Published,
        engine: str,
        batch_size: int,
        threads: int | None,
    ):
        self._version = version
        self._spec = runs.read_features(version.path)
        self._preparation = Preparation.read(version.path)
        name = engines.choose(version, engine)
        if engine == "auto" and "onnx" in version.formats:
            name = "onnx"  # the reader encodes raw values as ids
        self.engine = engines.load(version, name, threads)
        self._raw = name == "saved_model" and self._spec.has_raw
        self._batch_size = batch_size

    def about(self, path: str, keep: list[str]) -> dict[str, Any]:
        """Returns the metadata to store in a file of scores."""
        stat = os.stat(path)
        return {
            "version": self._version.version,
            "checkpoint": self._version.manifest["checkpoint"]["digest"],
            "precision": self._version.manifest["precision"],
            "input_bytes": stat.st_size,
            "input_mtime_ns": stat.st_mtime_ns,
            "keep_columns": keep,
        }

    def write(
        self, path: str, target: str, keep: list[str], about: dict[str, Any]
    ) -> int:
        """Scores a file; the output is written atomically.

        Args:
            path: the input file.
            target: path of the output file.
            keep: columns of the input to write next to the scores.
            about: metadata of the output file, as returned by `about`.

        Returns:
            The number of rows.

        Raises:
            DataError: if the file does not match the features.
            ExportError: if the scores cannot be written.
        """
        folder = os.path.dirname(os.path.abspath(target))
        with tempfile.TemporaryDirectory(prefix=".score-", dir=folder) as work:
            file = open_to_score(
                path,
                self._spec,
                self._preparation,
                work,
                keep=keep,
                requests=self._raw,
            )
            for line in file.notes:
                print(f"warning: {line}", file=sys.stderr, flush=True)
            if self._raw and file.source and not file.holds_requests:
                raise DataError(
                    f"{path}: has ids, but the SavedModel takes raw values; "
                    "use --engine=onnx."
                )
            return self._write(file, target, keep, about)

    def _write(self, file, target, keep, about):
        inputs = _Rows(file, keep, self._batch_size) if keep else None
        names = self._version.columns
        fields = [*(inputs.schema if inputs else ())]
        fields += [pa.field(name, pa.float32()) for name in names]
        schema = pa.schema(fields, {KEY: json.dumps(about).encode()})
        rows = 0
        try:
            with (
                files.atomic_path(target) as temporary,
                pq.ParquetWriter(temporary, schema) as writer,
            ):
                for batch in self._batches(file):
                    outputs = self._outputs(file.path, rows, batch)
                    count = len(outputs[names[0]])
                    columns = inputs.take(count).columns if inputs else []
                    columns += [pa.array(outputs[name]) for name in names]
                    writer.write_table(pa.table(columns, schema=writer.schema))
                    rows += count
        except OSError as error:
            raise ExportError(
                f"{target} cannot be written: {error}."
            ) from error
        return rows

    def _batches(self, file):
        if file.source is None:
            return
        if not self._raw:
            specs = signature(self._spec.as_ids())
            for batch in file.source.batches(self._batch_size):
                yield {
                    name: batch[name].astype(spec.dtype.as_numpy_dtype)
                    for name, spec in specs.items()
                }
            return
        # The reader checks the same rows, and encodes them as ids.
        unprefixed = dataclasses.replace(file, prefix="")
        rows = _Rows(unprefixed, list(signature(self._spec)), self._batch_size)
        for batch in file.source.batches(self._batch_size):
            count = len(next(iter(batch.values())))
            yield requests.raw_columns(self._spec, rows.take(count))

    def _outputs(self, path, first, columns):
        try:
            if isinstance(self.engine, engines.OnnxEngine):
                return self.engine.run_ids(columns)
            return self.engine.run(naming.PREDICT, columns)
        except engines.Refused as error:
            raise DataError(
                f"{path}, rows from {first} (from 0): {error}"
            ) from error


class _Rows:
    """Reads some columns of a file, any number of rows at a time."""

    def __init__(self, file: ScoredFile, names: list[str], batch_size: int):
        if file.source is None and not is_parquet(file.path):
            # A text file without rows; all its columns are strings.
            self.schema = pa.schema([(name, pa.string()) for name in names])
            return
        opened = pq.ParquetFile(file.parquet)
        schema = opened.schema_arrow
        stored_names = [f"{file.prefix}{name}" for name in names]
        for name in stored_names:
            if schema.names.count(name) != 1:
                raise DataError(
                    f"{file.path}: --keep_columns: the column {name!r} must "
                    f"be there exactly once; the file has {schema.names}."
                )
        fields = [schema.field(name) for name in stored_names]
        self.schema = pa.schema(
            [f.with_name(n) for f, n in zip(fields, names, strict=True)]
        )
        self._batches = opened.iter_batches(batch_size, columns=stored_names)
        self._stored_names = stored_names
        self._rest = self.schema.empty_table()

    def take(self, rows: int) -> pa.Table:
        """Returns the next rows."""
        parts = [self._rest]
        while sum(len(part) for part in parts) < rows:
            batch = next(self._batches)
            columns = [batch.column(name) for name in self._stored_names]
            parts.append(pa.table(columns, schema=self.schema))
        table = pa.concat_tables(parts)
        self._rest = table.slice(rows)
        return table.slice(0, rows)
