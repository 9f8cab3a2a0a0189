"""Where `wukong_tf.config.columns` was."""

from wukong_tf.config.columns import (
    IDS,
    NUMBERS,
    VECTORS,
    WEIGHTS,
    Column,
    columns,
)

__all__ = ["IDS", "NUMBERS", "VECTORS", "WEIGHTS", "Column", "columns"]
