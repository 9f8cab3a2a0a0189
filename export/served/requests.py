"""Encoding of rows as requests of every kind."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export.client.encode import Encoder
from export.served import tf_examples
from export.served.missing import missing_values
from wukong_tf.arrow import plain
from wukong_tf.arrow.plain import plain_array
from wukong_tf.arrow.texts import texts
from wukong_tf.config import FeatureSpec
from wukong_tf.features import signature
from wukong_tf.rows import columns
from wukong_tf.rows.bad_values import Count
from wukong_tf.rows.checks import checks_from_spec

ENCODINGS = ("raw", "ids", "rows", "tf_example", "candidates")
Columns = dict[str, np.ndarray]


class RequestEncodings:
    """Encodes rows in each form that a model takes.

    Args:
        served: the ServedModel.
    """

    def __init__(self, served):
        self._served = served
        self._spec = served.spec.as_requests()
        self._checks = checks_from_spec(self._spec, labels=False)
        self._encoder = Encoder(served.spec.to_dict())
        # Written artifacts must reject ids out of range themselves.
        self._encoder.columns = {
            name: dataclasses.replace(column, num_ids=None)
            for name, column in self._encoder.columns.items()
        }

    def by_name(self, name: str) -> Callable[[pa.Table], Columns]:
        """Returns the encoding called `name`, one of ENCODINGS."""
        return getattr(self, name)

    def trainer(self, rows: pa.Table) -> Columns:
        """Returns rows as the trainer reads them, including missing values."""
        return columns.read_table(
            "samples", 0, rows, self._spec, self._checks, Count()
        )

    def raw(self, rows: pa.Table) -> Columns:
        """Returns rows as a request to the SavedModel."""
        return raw_columns(self._spec, rows)

    def ids(self, rows: pa.Table) -> Columns:
        """Returns rows encoded by the client's encoder."""
        return self._encoder.encode(rows.to_pylist())

    def rows(self, rows: pa.Table) -> Columns:
        """Returns rows as embeddings, looked up and pooled by a service."""
        return self._served.rows_from_ids(self.ids(rows))

    def tf_example(self, rows: pa.Table) -> Columns:
        """Returns rows as serialized tf.Examples, without missing values."""
        texts = [
            tf_examples.serialize(self._spec, row) for row in rows.to_pylist()
        ]
        return {"inputs": np.array(texts, object)}

    def candidates(self, rows: pa.Table) -> Columns:
        """Returns rows as a SavedModel request with one row of context."""
        columns = self.raw(rows)
        for name in self._served.context:
            columns[name] = columns[name][:1]
        return columns


@np.errstate(over="ignore")  # beyond float32's range becomes infinite
def raw_columns(spec: FeatureSpec, rows: pa.Table) -> Columns:
    """Returns rows in the form of requests as inputs of the SavedModel."""
    arrays = {}
    features = {f.name: f for f in spec.categorical}
    weights = {f.weights: f for f in spec.categorical if f.weights}
    missing = missing_values(spec)
    for name, tensor in signature(spec).items():
        dtype = tensor.dtype.as_numpy_dtype
        feature = features.get(name) or weights.get(name)
        values = _values(rows[name], features.get(name))
        if feature is None or not feature.pooling:
            absent = missing.get(name, 0)
            arrays[name] = _single(values, absent, tensor.shape, dtype)
            continue
        padding = 0 if name in weights else missing[name]
        padded = np.full((len(values), feature.ids_per_row), padding, dtype)
        for row, bag in enumerate(values):
            bag = bag or []
            if feature.raw and not feature.weights:
                bag = [v for v in bag if v not in (None, "", b"", padding)]
            bag = bag[: feature.ids_per_row]
            padded[row, : len(bag)] = bag
        arrays[name] = padded
    return arrays


def _values(column, feature):
    """Returns Python values, with integers and texts converted to `raw`."""
    if feature is None or feature.raw not in ("string", "int64"):
        return column.to_pylist()
    array = plain_array(column)
    if not feature.pooling:
        return _as_raw(array, feature.raw)
    flat = iter(_as_raw(array.flatten(), feature.raw))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_pylist()
    return [list(itertools.islice(flat, length)) for length in lengths]


def _as_raw(array, raw):
    is_text = plain.is_text(array.type)
    if is_text if raw == "string" else pa.types.is_integer(array.type):
        return array.to_pylist()
    decimals = texts(array).to_pylist()
    if raw == "string":
        return decimals
    return [int(text) if text else None for text in decimals]


def _single(values, absent, shape, dtype):
    """Returns an array with one value or one vector per row."""
    if len(shape) > 1:
        return np.array(values, dtype).reshape(-1, *shape[1:])
    return np.array([absent if v is None else v for v in values], dtype)
