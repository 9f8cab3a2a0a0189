"""Engines that look up rows of a fused table."""

import importlib
from typing import Protocol

from keras import ops

from wukong_tf.embeddings import table_rows
from wukong_tf.errors import ConfigError

LOOKUPS = ("take", "tfrs")
SHARDED = "sharded"  # chosen by table, whatever engine reads the others


class Lookup(Protocol):
    """An engine that creates a table as a layer's weight and reads its rows."""

    def build(self, layer, rows: int, width: int, features: int):
        """Creates the table [rows, width] of zeros as a weight of `layer`."""
        ...

    def __call__(self, table, ids):
        """Reads rows [B, F, width] of `table` by row numbers `ids` [B, F]."""
        ...


class TakeLookup:
    """An engine that needs only Keras, on any of its backends."""

    def build(self, layer, rows, width, features):
        """Creates the table [rows, width] of zeros as a weight of `layer`."""
        return layer.add_weight(
            name="table", shape=(rows, width), initializer="zeros"
        )

    def __call__(self, table, ids):
        """Reads rows [B, F, width] of `table` by row numbers `ids` [B, F]."""
        value = table_rows.local(table.value)
        if hasattr(value, "sparse_read"):
            # A TensorFlow variable: keras.ops.take would read all of it for its
            # shape, which copies the table outside a graph.
            return value.sparse_read(ids)
        return ops.take(value, ids, axis=0)


def make_lookup(name: str | Lookup) -> Lookup:
    """Returns the lookup called `name`: "take", "tfrs" or "sharded".

    A lookup is returned as it is.

    Raises:
        ConfigError: `name` is none of them.
        ImportError: "tfrs", if TensorFlow Recommenders cannot be used.
    """
    if not isinstance(name, str):
        return name
    if name == "take":
        return TakeLookup()
    if name == "tfrs":
        tfrs_tables = importlib.import_module(
            "wukong_tf.embeddings.tfrs_tables"
        )
        return tfrs_tables.TFRSLookup()
    if name == SHARDED:
        exchange = importlib.import_module("wukong_tf.sharding.exchange")
        return exchange.ShardedLookup()
    raise ConfigError(
        f"`lookup` must be one of {list(LOOKUPS)}; received {name!r}."
    )
