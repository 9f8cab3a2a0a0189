"""How tables are kept in what is published, and how a graph reads them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.embeddings.fused_tables import FusedEmbedding
from wukong_tf.features.transforms import NO_ROW

PRECISIONS = ("float32", "float16", "int8")
_DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
_LARGEST = 127  # of int8, the same on both sides of 0
_CHUNK_ROWS = 1 << 16


def _kept_as(layer, precision):
    """The precision of a table; a scale would outweigh a row of one number."""
    narrow = precision == "int8" and layer.plan.width == 1
    return "float32" if narrow else precision


def store(layer: FusedEmbedding, precision: str) -> dict[str, np.ndarray]:
    """The arrays that a table is kept as.

    Args:
        layer: it owns the table.
        precision: "float32", "float16" or "int8". Rows of int8 are q, with
            a scale s for each row: s q is the row, s the largest absolute
            value of the row over 127. A table of width 1 stays in float32
            then.

    Returns:
        dict with "rows" [R, W] and, for int8, "scale", float32 [R, 1].
    """
    precision = _kept_as(layer, precision)
    table = layer.table.value
    rows, width = table.shape
    kept = {"rows": np.empty((rows, width), _DTYPES[precision])}
    if precision == "int8":
        kept["scale"] = np.empty((rows, 1), np.float32)
    for first in range(0, rows, _CHUNK_ROWS):
        chunk = slice(first, min(first + _CHUNK_ROWS, rows))
        values = np.asarray(table[chunk], np.float32)
        if precision == "int8":
            scale = np.abs(values).max(1, keepdims=True) / _LARGEST
            kept["scale"][chunk] = scale
            values = np.rint(values / np.where(scale > 0, scale, 1))
        kept["rows"][chunk] = values
    return kept


def specs(layer: FusedEmbedding, precision: str) -> dict[str, tf.TensorSpec]:
    """Specs of what `store` gives."""
    precision = _kept_as(layer, precision)
    rows, width = layer.table.shape
    found = {"rows": tf.TensorSpec((rows, width), _DTYPES[precision])}
    if precision == "int8":
        found["scale"] = tf.TensorSpec((rows, 1), tf.float32)
    return found


class Reader:
    """A lookup of rows that were stored by `store`.

    Args:
        kept: tensors or variables, as `store` names them.
        check: from row numbers [B, C] to the same with those replaced that
            are in no table. Defaults to None: they are in range.
    """

    def __init__(
        self,
        kept: Mapping[str, Any],
        check: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ):
        self._kept = kept
        self._check = check

    def build(self, layer, rows, width, features):
        """Not for new tables."""
        raise NotImplementedError

    def __call__(self, table, ids):
        """Rows, float32 [B, C, W], for row numbers `ids` [B, C]."""
        del table
        if self._check is not None:
            ids = self._check(ids)
        rows = tf.cast(_take(self._kept["rows"], ids), tf.float32)
        if "scale" in self._kept:
            rows *= _take(self._kept["scale"], ids)  # [B, C, 1]
        return rows


def _take(kept, ids):
    if hasattr(kept, "sparse_read"):
        return kept.sparse_read(ids)
    return tf.gather(kept, ids)


def range_check(
    layer: FusedEmbedding, features: Mapping[str, CategoricalFeature]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A check of row numbers [B, C] of a fused table, all columns at once.

    An id outside its feature's range is read as the feature's `oov_id`;
    where it has none, as a row that no table has.
    """
    first, past, instead = [], [], []
    plan = layer.plan
    for name, offset, columns in zip(
        plan.features, plan.offsets, plan.columns, strict=True
    ):
        feature = features[name]
        oov = NO_ROW if feature.oov_id is None else offset + feature.oov_id
        first += [offset] * columns
        past += [offset + feature.num_ids] * columns
        instead += [oov] * columns

    def check(ids):
        inside = (ids >= tf.constant(first, ids.dtype)) & (
            ids < tf.constant(past, ids.dtype)
        )
        return tf.where(inside, ids, tf.constant(instead, ids.dtype))

    return check


@contextlib.contextmanager
def read_by(readers: Mapping[FusedEmbedding, Reader]) -> Iterator[None]:
    """Has layers read their tables by `readers`, inside the block."""
    own = {layer: layer.lookup for layer in readers}
    try:
        for layer, reader in readers.items():
            layer.lookup = reader
        yield
    finally:
        for layer, lookup in own.items():
            layer.lookup = lookup
