"""Former location of `wukong_tf.config.columns`, kept as an alias."""

from wukong_tf.config.columns import (
    IDS,
    NUMBERS,
    VECTORS,
    WEIGHTS,
    Column,
    columns,
)

__all__ = ["IDS", "NUMBERS", "VECTORS", "WEIGHTS", "Column", "columns"]
