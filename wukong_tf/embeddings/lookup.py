"""The seam between a fused table and the engine that looks rows up."""

import importlib
from typing import Protocol

from keras import ops

from wukong_tf.errors import ConfigError

LOOKUPS = ("take", "tfrs")


class Lookup(Protocol):
    """Makes a table as a weight of its Keras layer, and reads rows of it."""

    def build(self, layer, rows: int, width: int, features: int, initializer):
        """The table [rows, width], added to `layer` as a weight."""
        ...

    def __call__(self, table, ids):
        """Rows [B, F, width] of `table` for row numbers `ids` [B, F]."""
        ...


class TakeLookup:
    """Looks rows up by keras.ops.take, on any Keras backend."""

    def build(self, layer, rows, width, features, initializer):
        """The table [rows, width], added to `layer` as a weight."""
        return layer.add_weight(
            name="table", shape=(rows, width), initializer=initializer
        )

    def __call__(self, table, ids):
        """Rows [B, F, width] of `table` for row numbers `ids` [B, F]."""
        # TensorFlow reads a keras.Variable whole before it takes rows of it,
        # but not the variable inside.
        return ops.take(table.value, ids, axis=0)


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
