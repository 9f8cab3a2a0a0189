"""Converts rows that the model reads into rows in the form of requests."""

import numpy as np
import pyarrow as pa

from wukong_tf.arrow.plain import is_time
from wukong_tf.arrow.texts import texts
from wukong_tf.config import FeatureSpec, encodings
from wukong_tf.config.categorical_feature import (
    MISSING_ID,
    PADDING_ID,
    CategoricalFeature,
)
from wukong_tf.rows import Batch


def request_table(
    spec: FeatureSpec, batch: Batch, logged: pa.Table | None = None
) -> pa.Table:
    """Returns the rows of a batch, with raw values if requests hold them.

    A multi-hot column is a list without padding, a missing number is null,
    and the table's metadata records that no column is encoded.

    Args:
        spec: the columns.
        batch: the rows, from a source.
        logged: the same rows as stored in the files, whose raw values are
            used if they hold any; otherwise these are derived from the ids.
            Defaults to None.
    """
    columns = {}
    for feature in spec.categorical:
        present = _present(batch, feature)
        if feature.weights and feature.weights not in columns:
            columns[feature.weights] = _lists(batch[feature.weights], present)
        if feature.logged_raw and logged is not None:
            columns[feature.name] = _cut(logged[feature.name], feature)
            continue
        values = batch[feature.name]
        if feature.raw:
            values = _raw(spec, feature, values)
        elif not feature.pooling:
            values = pa.array(values)
        if feature.pooling:
            values = _lists(values, present)
        columns[feature.name] = values
    for numeric in spec.numeric:
        columns[numeric.name] = pa.array(batch[numeric.name], from_pandas=True)
    for name, values in batch.items():
        if name not in columns:
            columns[name] = pa.array(
                list(values) if values.ndim > 1 else values
            )
    table = pa.table({name: columns[name] for name in batch})
    return table.replace_schema_metadata(encodings.metadata({}))


def literals(column: pa.ChunkedArray) -> list:
    """Returns a column as Python values: NaN as None, times as strings.

    A float32 has the fewest digits that are read as the same float32.
    """
    if is_time(column.type) or pa.types.is_decimal(column.type):
        return [text or None for text in texts(column).to_pylist()]
    return [_literal(value, column.type) for value in column.to_pylist()]


def _literal(value, kind):
    if value is None or value != value:
        return None
    if isinstance(value, list):
        return [_literal(each, kind.value_type) for each in value]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return float(str(kind.to_pandas_dtype()(value)))
    return value


def _present(batch, feature):
    """Returns the mask of a bag's ids that are not padding, [B, max_ids]."""
    if not feature.pooling:
        return None
    return batch[feature.name] != PADDING_ID


def _lists(values, present):
    """Returns the masked values of each row as lists."""
    return pa.array(
        [list(row[mask]) for row, mask in zip(values, present, strict=True)]
    )


def _cut(column, feature):
    """Returns logged values; bags are cut to `max_ids` as in reading."""
    if not feature.pooling:
        return column
    if pa.types.is_null(column.type):  # no row has a list
        return column.cast(pa.list_(pa.null()))
    missing = (
        None,
        "",
        feature.missing_value if feature.raw == "int64" else "",
    )
    rows = [
        [value for value in row or () if value not in missing]
        for row in column.to_pylist()
    ]
    return pa.array(
        [row[: feature.max_ids] for row in rows],
        pa.list_(column.type.value_type),
    )


def _raw(spec: FeatureSpec, feature: CategoricalFeature, ids: np.ndarray):
    """Returns raw values that encode to these ids, if possible.

    Hashed and out-of-vocabulary ids get a value that is not in the
    vocabulary, which may hash to another id.
    """
    if feature.raw == "float":
        return _numbers(feature, ids)
    words = spec.vocabulary(feature.table_name) or ()
    known = set(words)
    empty = "" if feature.raw == "string" else str(feature.missing_value)
    texts = []
    for number, id in enumerate(ids.flat):
        place = int(id) - feature.first_id
        if id in (PADDING_ID, MISSING_ID):
            texts.append(empty)
        elif words and 0 <= place < len(words):
            texts.append(words[place])
        else:
            texts.append(_unknown(feature, number, known))
    if feature.raw == "int64":
        values = np.array([int(text) for text in texts], np.int64)
    else:
        values = np.array(texts, object)
    values = values.reshape(ids.shape)
    return values if feature.pooling else pa.array(values)


def _unknown(feature, number, known):
    while True:
        word = f"out of vocabulary {number}"
        if feature.raw == "int64":
            word = str(2**40 + number)
        if word not in known and word != str(feature.missing_value):
            return word
        number += 2**20


def _numbers(feature, ids):
    """Returns a number per bucket: its lower bound, or 1 below the first."""
    lower = np.array([feature.boundaries[0] - 1, *feature.boundaries])
    place = np.clip(ids - feature.first_id, 0, len(lower) - 1)
    values = lower[place].astype(np.float32)
    return pa.array(
        np.where(ids < feature.first_id, np.float32("nan"), values),
        from_pandas=True,
    )
