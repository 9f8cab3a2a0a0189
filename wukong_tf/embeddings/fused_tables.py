"""A Keras layer that owns one fused table and looks ids up in it."""

import keras
from keras import ops

from wukong_tf.embeddings.lookup import make_lookup
from wukong_tf.embeddings.plan import FusedTable


class FusedEmbedding(keras.layers.Layer):
    """All tables of one width, as one variable.

    Each feature's ids are shifted by its table's offset, so that one lookup
    reads the rows of every feature, and one scatter updates them. The table
    is float32 under every dtype policy.

    Args:
        table: the plan of the fused table.
        lookup: "take" or "tfrs", the engine that reads the rows.
        initializer: of the table.

    Input shape:
        [B, C], ids of the features in the order of `table.features`, as many
        columns of each as `table.columns` says, each id in [0, rows of its
        table).

    Output shape:
        [B, C, table.width].
    """

    def __init__(self, table: FusedTable, *, lookup="take", initializer):
        super().__init__(name=table.name, dtype="float32")
        self.plan = table
        self.lookup = make_lookup(lookup)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        """Makes the table."""
        del input_shape
        self.table = self.lookup.build(
            self,
            self.plan.rows,
            self.plan.width,
            sum(self.plan.columns),
            self.initializer,
        )

    def call(self, ids):
        """[B, C] to [B, C, width]."""
        offsets = [
            offset
            for offset, columns in zip(
                self.plan.offsets, self.plan.columns, strict=True
            )
            for _ in range(columns)
        ]
        offsets = ops.convert_to_tensor(offsets, dtype=ids.dtype)
        return self.lookup(self.table, ids + offsets)  # [B, C, width]

    def compute_output_shape(self, input_shape):
        """[B, C] to [B, C, width]."""
        return (*input_shape, self.plan.width)
