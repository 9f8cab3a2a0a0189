"""Requests that parity sends, including the edge cases of every rule."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import CategoricalFeature

SINGLE_ROWS = 8
EXTREME = 1e4
BATCHES = (7, 512)  # in addition to all rows and to single rows
_INT64 = np.iinfo(np.int64)
# Text of every length at which the hash takes another branch, and in several
# scripts.
_WORDS = [
    "x" * length for length in (1, 3, 4, 7, 8, 16, 17, 32, 33, 64, 65, 200)
] + ["\u00e9", "\u4e2d\u6587", " ", "\U0001f600"]
_INTEGERS = [0, 1, -2, 2**31, _INT64.max, _INT64.min]
_FLOATS = [0.0, -1.5, 1e30, -1e30]


@dataclasses.dataclass(frozen=True)
class Case:
    """Rows of a request and their expected interpretation.

    Args:
        sent: the rows that are sent.
        read: rows with ids in range, as which they must be read.
    """

    sent: pa.Table
    read: pa.Table


def cases(spec: FeatureSpec, samples: pa.Table) -> Iterator[Case]:
    """Yields all rows at once, single rows, and edge cases of every rule.

    Args:
        spec: the features.
        samples: rows in the form of requests, with ids in range.
    """
    yield Case(samples, samples)
    rows = samples.num_rows
    if any(feature.pooling for feature in spec.categorical):
        for edge in (_no_values, _full_of_values):
            table = _replaced(spec, samples, edge)
            yield Case(table, table)
    if any(feature.raw for feature in spec.categorical):
        for edge in (_unknown_values, _missing_values, _known_values):
            table = _replaced(spec, samples, edge)
            yield Case(table, table)
    for size in BATCHES:
        batch = samples.take(np.arange(size) % rows)
        yield Case(batch, batch)
    for row in range(min(rows, SINGLE_ROWS)):
        single = samples.slice(row, 1)
        yield Case(single, single)
    if any(feature.oov_id is not None for feature in spec.categorical):
        yield Case(
            _replaced(spec, samples, _ids_out_of_range),
            _replaced(spec, samples, _oov_ids),
        )


def _replaced(spec, samples, edge):
    """Returns the samples with the values from `edge`, if any, per feature."""
    table = samples
    for feature in spec.categorical:
        values = edge(spec, feature, samples.num_rows)
        if values is None:
            continue
        place = table.column_names.index(feature.name)
        kind = table.schema.field(place).type
        if feature.raw is None:  # wide enough for ids out of range
            kind = pa.list_(pa.int64()) if feature.pooling else pa.int64()
        table = table.set_column(place, feature.name, pa.array(values, kind))
        if feature.weights:
            place = table.column_names.index(feature.weights)
            kind = table.schema.field(place).type
            ones = [[1.0] * len(bag) for bag in values]
            table = table.set_column(
                place, feature.weights, pa.array(ones, kind)
            )
    return table


def _spread(feature, values, rows):
    """Returns `values`, repeated in turn, as single values or full bags."""
    size = feature.ids_per_row
    flat = [values[place % len(values)] for place in range(rows * size)]
    if not feature.pooling:
        return flat
    return [flat[row * size : (row + 1) * size] for row in range(rows)]


def _no_values(spec, feature, rows):
    return [[]] * rows if feature.pooling else None


def _full_of_values(spec, feature, rows):
    if not feature.pooling:
        return None
    if feature.raw:
        return _known_values(spec, feature, rows) or _unknown_values(
            spec, feature, rows
        )
    if feature.num_ids < 2:
        return [[]] * rows
    return _spread(feature, range(1, feature.num_ids), rows)


def _unknown_values(spec, feature, rows):
    kinds: dict[str, list] = {
        "string": _WORDS,
        "int64": _INTEGERS,
        "float": _FLOATS,
    }
    if feature.raw is None:
        return None
    values = kinds[feature.raw]
    if feature.raw == "int64":
        values = [v for v in values if v != feature.missing_value]
    return _spread(feature, values, rows)


def _known_values(spec, feature, rows):
    if feature.raw == "float":
        return _spread(feature, feature.boundaries, rows)
    words = spec.vocabulary(feature.table_name)
    if not feature.raw or not words:
        return None
    known = words[: rows * feature.ids_per_row]
    if feature.raw == "int64":
        known = [int(word) for word in known]
    return _spread(feature, known, rows)


def _missing_values(spec, feature, rows):
    if feature.raw is None or feature.pooling:
        return None
    return [None] * rows


def _ids_out_of_range(spec, feature, rows):
    if feature.oov_id is None:
        return None
    return _left_open(
        _spread(feature, out_of_range(feature).tolist(), rows), feature
    )


def _oov_ids(spec, feature, rows):
    if feature.oov_id is None:
        return None
    return _left_open(_spread(feature, [feature.oov_id], rows), feature)


def _left_open(values, feature):
    """Returns bags without their last value, so that padding is kept."""
    if not feature.pooling or feature.ids_per_row == 1:
        return values
    return [bag[:-1] for bag in values]


def extreme(spec: FeatureSpec, rows: pa.Table) -> pa.Table:
    """Returns the first row with extreme numbers, weights and vectors."""
    table = rows.slice(0, 1)
    sizes = {f.name: f.size for f in spec.vector}
    names = [f.name for f in spec.numeric] + list(sizes)
    names += [f.weights for f in spec.categorical if f.weights]
    for name in names:
        place = table.column_names.index(name)
        value: float | list[float] = EXTREME
        if name not in [f.name for f in spec.numeric]:
            size = sizes.get(name, len(table[name][0].as_py() or ()))
            value = [EXTREME] * size
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array([value], field.type))
    return table


def with_one_context(table: pa.Table, context: Sequence[str]) -> pa.Table:
    """Returns the rows with the first row's `context` in every row."""
    for name in context:
        first = table[name].take([0] * table.num_rows)
        place = table.column_names.index(name)
        table = table.set_column(place, table.field(place), first)
    return table


def with_last_id(
    rows: pa.Table, feature: CategoricalFeature, value: int
) -> pa.Table:
    """Replaces `feature`'s id, or first id of a bag, in the last row."""
    values = rows[feature.name].to_pylist()
    columns = {feature.name: (values, pa.int64())}
    if feature.pooling:
        values[-1] = [value, *(values[-1] or [])[1:]]
        columns[feature.name] = (values, pa.list_(pa.int64()))
        if feature.weights:
            weights = rows[feature.weights].to_pylist()
            weights[-1] = weights[-1] or [1.0]
            columns[feature.weights] = (weights, pa.list_(pa.float32()))
    else:
        values[-1] = value
    for name, (column, kind) in columns.items():
        place = rows.column_names.index(name)
        rows = rows.set_column(place, name, pa.array(column, kind))
    return rows


def out_of_range(feature: CategoricalFeature) -> np.ndarray:
    """Returns int64 ids just outside a feature's range and the extreme ones."""
    return np.array([-1, feature.num_ids, _INT64.min, _INT64.max], np.int64)
