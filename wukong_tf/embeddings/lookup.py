"""The seam between a fused table and the engine that looks rows up."""

import importlib
from typing import Protocol

from keras import ops

from wukong_tf.embeddings import table_rows
from wukong_tf.errors import ConfigError

LOOKUPS = ("take", "tfrs")


class Lookup(Protocol):
    """Makes a table as a weight of its Keras layer, and reads rows of it."""

    def build(self, layer, rows: int, width: int, features: int):
        """The table [rows, width] of zeros, a weight of `layer` now."""
        ...

    def __call__(self, table, ids):
        """Rows [B, F, width] of `table` for row numbers `ids` [B, F]."""
        ...


class TakeLookup:
    """Looks rows up by Keras alone, on any of its backends."""

    def build(self, layer, rows, width, features):
        """The table [rows, width] of zeros, a weight of `layer` now."""
        return layer.add_weight(
            name="table", shape=(rows, width), initializer="zeros"
        )

    def __call__(self, table, ids):
        """Rows [B, F, width] of `table` for row numbers `ids` [B, F]."""
        value = table_rows.local(table.value)
        if hasattr(value, "sparse_read"):
            # TensorFlow's variable. keras.ops.take would read all of it for
            # its shape, and outside a graph that copies the table.
            return value.sparse_read(ids)
        return ops.take(value, ids, axis=0)


def make_lookup(name: str) -> Lookup:
    """The lookup called `name`: "take" or "tfrs".

    Raises:
        ConfigError: `name` is neither.
        ImportError: "tfrs", where TensorFlow Recommenders cannot be used.
    """
    if name == "take":
        return TakeLookup()
    if name == "tfrs":
        tfrs_tables = importlib.import_module(
            "wukong_tf.embeddings.tfrs_tables"
        )
        return tfrs_tables.TFRSLookup()
    raise ConfigError(
        f"`lookup` must be one of {list(LOOKUPS)}; received {name!r}."
    )
