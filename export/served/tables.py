"""Storage formats of published tables, and lookups that read them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.embeddings.fused_tables import FusedEmbedding
from wukong_tf.features.transforms import NO_ROW

_DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
_LARGEST = 127  # of int8, symmetric around 0
_CHUNK_ROWS = 1 << 16


def _stored_precision(layer, precision):
    """Returns a table's precision: float32, not int8, for rows of 1 number."""
    narrow = precision == "int8" and layer.plan.width == 1
    return "float32" if narrow else precision


def store(layer: FusedEmbedding, precision: str) -> dict[str, np.ndarray]:
    """Returns the arrays that a table is stored as.

    Args:
        layer: layer that owns the table.
        precision: "float32", "float16" or "int8". For int8, rows are stored
            as q with a scale s each: the row is s q, and s is its largest
            absolute value divided by 127. Tables of width 1 stay in float32,
            as a scale would outweigh a row.

    Returns:
        dict with "rows" [R, W] and, for int8, "scale", float32 [R, 1].
    """
    precision = _stored_precision(layer, precision)
    table = layer.table.value
    rows, width = table.shape
    arrays = {"rows": np.empty((rows, width), _DTYPES[precision])}
    if precision == "int8":
        arrays["scale"] = np.empty((rows, 1), np.float32)
    for first in range(0, rows, _CHUNK_ROWS):
        chunk = slice(first, min(first + _CHUNK_ROWS, rows))
        values = np.asarray(table[chunk], np.float32)
        if precision == "int8":
            scale = np.abs(values).max(1, keepdims=True) / _LARGEST
            arrays["scale"][chunk] = scale
            values = np.rint(values / np.where(scale > 0, scale, 1))
        arrays["rows"][chunk] = values
    return arrays


def specs(layer: FusedEmbedding, precision: str) -> dict[str, tf.TensorSpec]:
    """Returns the specs of the arrays that `store` returns."""
    precision = _stored_precision(layer, precision)
    rows, width = layer.table.shape
    tensors = {"rows": tf.TensorSpec((rows, width), _DTYPES[precision])}
    if precision == "int8":
        tensors["scale"] = tf.TensorSpec((rows, 1), tf.float32)
    return tensors


class Reader:
    """A lookup that reads rows in the format of `store`.

    Args:
        arrays: tensors or variables, named as by `store`.
        check: maps row numbers [B, C] to the same with out-of-range ones
            replaced. Defaults to None: all are in range.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        check: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self._arrays = arrays
        self._check = check

    def build(self, layer, rows, width, features):
        """Raises NotImplementedError, as it cannot create tables."""
        raise NotImplementedError

    def __call__(self, table, ids):
        """Returns rows, float32 [B, C, W], for row numbers `ids` [B, C]."""
        del table
        if self._check is not None:
            ids = self._check(ids)
        rows = tf.cast(_take(self._arrays["rows"], ids), tf.float32)
        if "scale" in self._arrays:
            rows *= _take(self._arrays["scale"], ids)  # [B, C, 1]
        return rows


def _take(array, ids):
    if hasattr(array, "sparse_read"):
        return array.sparse_read(ids)
    return tf.gather(array, ids)


def range_check(
    layer: FusedEmbedding, features: Mapping[str, CategoricalFeature]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a check of a fused table's row numbers [B, C] in one operation.

    It replaces an id outside its feature's range by the feature's `oov_id`
    or, if that is None, by a row number outside every table.
    """
    first, past, replacement = [], [], []
    plan = layer.plan
    for name, offset, columns in zip(
        plan.features, plan.offsets, plan.columns, strict=True
    ):
        feature = features[name]
        oov = NO_ROW if feature.oov_id is None else offset + feature.oov_id
        first += [offset] * columns
        past += [offset + feature.num_ids] * columns
        replacement += [oov] * columns

    def check(ids):
        inside = (ids >= tf.constant(first, ids.dtype)) & (
            ids < tf.constant(past, ids.dtype)
        )
        return tf.where(inside, ids, tf.constant(replacement, ids.dtype))

    return check


@contextlib.contextmanager
def read_by(readers: Mapping[FusedEmbedding, Reader]) -> Iterator[None]:
    """Sets layers' lookups to `readers` inside the block."""
    own = {layer: layer.lookup for layer in readers}
    try:
        for layer, reader in readers.items():
            layer.lookup = reader
        yield
    finally:
        for layer, lookup in own.items():
            layer.lookup = lookup
