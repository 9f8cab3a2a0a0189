"""Converts raw files to rows in the form of requests to a trained model.

The recipe of the model's preparation determines how a file's columns become
texts, lists, numbers and vectors as a client would send them, and ids if a
rule changes the raw value, as a client would have to compute them.
"""

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.preparation import (
    encoding,
    inputs,
    reading,
    shards,
    text_files,
    types,
    values,
)
from trainer.preparation.columns import Column
from trainer.preparation.recorded import Preparation
from trainer.preparation.records import Layout
from trainer.preparation.shards import InputFile, Shard
from wukong_tf.arrow.plain import is_text
from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import OOV_ID
from wukong_tf.errors import DataError

KEPT = "kept/"  # prefix of columns passed on; features cannot have a "/"
_INTEGER = "^(0|-?[1-9][0-9]*)?$"
_SHARD_BYTES = 2**26
_LEAST_UNKNOWN = 20  # least values out of vocabulary for a warning


def write_rows(
    path: str,
    target: str,
    preparation: Preparation,
    spec: FeatureSpec,
    keep: Sequence[str] = (),
) -> tuple[int, list[str]]:
    """Writes the rows of a raw file as Parquet in the form of requests.

    Args:
        path: the raw file, text or Parquet.
        target: the Parquet file to write.
        preparation: the result of `Preparation.for_model`.
        spec: the model's features.
        keep: columns of the raw file that are passed on, their names
            prefixed by `KEPT`. Defaults to (), none.

    Returns:
        The number of rows, which keep the file's order, and warnings on
        columns whose first values are all out of vocabulary. No file is
        written if there are no rows.

    Raises:
        DataError: the file cannot be read, or a value breaks its column's
            rule; the message names line, or row, column, rule and value.
    """
    columns = list(dict.fromkeys((*preparation.sources, *keep)))
    rows, notes = 0, list[str]()
    try:
        file = input_file(path, preparation)
    except text_files.ERRORS as error:
        raise DataError(f"{path}: {error}.") from error
    if not shards.has_rows(file):
        return rows, notes
    types.check([file], preparation.recipe)
    writer: pq.ParquetWriter | None = None
    try:
        for shard in shards.plan([file], _SHARD_BYTES):
            for raw in reading.read(shard, columns):
                table = _request_rows(shard, raw, preparation.recipe, spec)
                for name in keep:
                    table = table.append_column(KEPT + name, raw[name])
                if writer is None:
                    writer = pq.ParquetWriter(target, table.schema)
                    notes = _unknown_values(path, table, spec)
                writer.write_table(table.cast(writer.schema))
                rows += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows, notes


def _unknown_values(path, table, spec) -> list[str]:
    """Returns warnings on columns whose values are all out of vocabulary."""
    lines = []
    for feature in spec.categorical:
        words = spec.vocabulary(feature.table_name)
        values = table[feature.name].combine_chunks()
        values = values.flatten() if feature.pooling else values
        if not words or not is_text(values.type):
            continue
        values = values.filter(pc.not_equal(values, ""))
        distinct = values.unique()
        known = pc.is_in(distinct, value_set=pa.array(words, pa.string()))
        if len(values) >= _LEAST_UNKNOWN and not pc.any(known).as_py():
            lines.append(
                f"{path}: column {feature.name!r}: its first {len(values):,} "
                "values are all out of vocabulary, such as "
                f"{distinct[0].as_py()!r}; the vocabulary has {words[0]!r}"
            )
    return lines


def input_file(path: str, preparation: Preparation) -> InputFile:
    """Returns a raw file with its layout.

    The layout is that of the preparation if it fits the file; otherwise the
    first line names the columns, and the delimiter is detected.
    """
    if inputs.is_parquet(path):
        return InputFile(path, "test", None)
    layout = preparation.layout or Layout()
    if layout.names is not None:
        headerless = _without_header(path, layout, preparation.recipe)
        if headerless is not None:
            return InputFile(path, "test", headerless)
        layout = dataclasses.replace(layout, names=None)
    with contextlib.suppress(DataError):
        names, _ = text_files.header(path, layout)
        if set(preparation.sources) <= set(names):
            return InputFile(path, "test", layout)
    used = text_files.detect_delimiter(path, layout.delimiter)
    return InputFile(path, "test", Layout(used))


def _without_header(path, layout, recipe):
    """Returns the layout of a file whose first line is a row, or None."""
    with text_files.opened(path) as stream:
        line = stream.readline().decode("utf-8-sig", "replace")
    fields = line.rstrip("\r\n").split(layout.delimiter)
    names = layout.names
    if len(fields) == len(names) - 1:  # a log without labels
        names = tuple(name for name in names if name != recipe.label)
    if len(fields) != len(names) or set(fields) & set(names):
        return None
    return dataclasses.replace(layout, names=names)


def _request_rows(shard, raw, recipe, spec) -> pa.Table:
    """Returns some rows of a shard, by the names of features."""
    features = {f.name: f for f in (*spec.categorical, *spec.numeric)}
    arrays = {}
    for column in recipe.columns:
        feature = features.get(column.name)
        if column.kind == "vector":
            vectors = values.vectors(shard, raw, column)
            array = pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.reshape(-1)), column.size
            )
        elif column.kind == "numeric":
            array = _numbers(shard, raw, column, feature)
        else:
            array = _categories(shard, raw, column, feature, spec)
        arrays[column.name] = array
    return pa.table(arrays)


def _numbers(shard, raw, column, feature):
    numbers = values.numbers(shard, raw, column)
    gaps = np.isnan(numbers)
    if feature.missing is None and gaps.any():
        row = int(np.argmax(gaps))
        value = raw[column.column][row].as_py()
        reading.refuse(shard, raw, row, column.column, "a number", value)
    return pa.array(numbers.astype(np.float32), mask=gaps)


def _categories(shard, raw, column: Column, feature, spec):
    texts = values.texts(shard, raw, column)
    if feature.raw is None:
        words = spec.vocabulary(feature.table_name)
        if words is None:
            buckets = feature.num_ids - OOV_ID
            column = dataclasses.replace(column, buckets=buckets)
        return encoding.ids(
            column,
            texts,
            None if words is None else pa.array(words, pa.string()),
            feature.oov_buckets,
        )
    if feature.raw == "int64":
        _check_integers(shard, raw, column, texts)
    return texts


def _check_integers(shard: Shard, raw, column, texts):
    """Raises DataError if a text is not an integer that fits int64."""
    flat, row_of = texts, np.arange(len(texts))
    if column.is_bag:
        flat = texts.flatten()
        row_of = np.repeat(row_of, pc.list_value_length(texts).to_numpy())
    words = flat.dictionary_encode()
    good = pc.match_substring_regex(words.dictionary, _INTEGER).to_numpy(
        zero_copy_only=False
    )
    fits = [
        whole and len(word) <= 20 and -(2**63) <= int(word or 0) < 2**63
        for word, whole in zip(words.dictionary.to_pylist(), good, strict=True)
    ]
    if all(fits):
        return
    wrong = ~np.array(fits)[words.indices.to_numpy()]
    row = int(row_of[np.argmax(wrong)])
    value = raw[column.column][row].as_py()
    rule = "an integer that int64 can hold, or empty"
    reading.refuse(shard, raw, row, column.column, rule, value)
