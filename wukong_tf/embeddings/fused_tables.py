"""A Keras layer that owns one fused table and looks ids up in it."""

import contextlib
from collections.abc import Sequence

import keras
from keras import ops

from wukong_tf.embeddings import table_rows
from wukong_tf.embeddings.lookup import SHARDED, make_lookup
from wukong_tf.embeddings.plan import MAX_FUSED_ROWS, FusedTable


class FusedEmbedding(keras.layers.Layer):
    """All tables of one width, as one variable.

    Each feature's ids are shifted by its table's offset, so that one lookup
    reads the rows of every feature, and one scatter updates them.

    Args:
        table: the plan of the fused table.
        lookup: "take" or "tfrs", the engine that reads the rows of a table
            that is not sharded.
        initial_scales: for each table of the plan, the scale s of its rows,
            which are initialized uniformly in [-s, s]. Defaults to None, zeros.
        dtype: dtype of the table. Defaults to "float32".
        seed: seed of the rows; it determines a row's initial value, with the
            table's name and the row's number. Defaults to None, Keras's next
            seed.

    Input shape:
        2D tensor with shape `(batch_size, num_columns)`: ids of the features in
        the order of `table.features`, with `table.columns` columns of each,
        each id in [0, rows of its table).

    Output shape:
        3D tensor with shape `(batch_size, num_columns, table.width)`.
    """

    def __init__(
        self,
        table: FusedTable,
        *,
        lookup: str = "take",
        initial_scales: Sequence[float] | None = None,
        seed: int | None = None,
        dtype: str = "float32",
    ):
        super().__init__(name=table.name, dtype=dtype)
        self.plan = table
        self.lookup = make_lookup(SHARDED if table.sharded else lookup)
        # Dtype in which training steps send rows of a sharded table.
        self.exchange_dtype = "float32"
        self.initial_scales = initial_scales or [0.0] * len(table.tables)
        if seed is None:
            seed = keras.initializers.RandomUniform().seed
        self.seed = seed

    def build(self, input_shape):
        """Creates the table and initializes a run of rows at a time."""
        del input_shape
        with self._place():
            self.table = self.lookup.build(
                self,
                self.plan.rows,
                self.plan.width,
                sum(self.plan.columns),
            )
        for table, scale in zip(
            self.plan.tables, self.initial_scales, strict=True
        ):
            if scale:
                table_rows.write(
                    self.table,
                    (table.offset, table.offset + table.rows),
                    table_rows.uniform(
                        self.seed, table.name, self.plan.width, scale
                    ),
                )

    def _place(self):
        """Returns a context of the device that holds the table."""
        if self.plan.host:
            return keras.device("cpu:0")
        return contextlib.nullcontext()

    def call(self, ids, training=None):
        """Maps `(batch, num_columns)` to `(batch, num_columns, width)`."""
        offsets = [
            offset
            for offset, columns in zip(
                self.plan.offsets, self.plan.columns, strict=True
            )
            for _ in range(columns)
        ]
        if self.plan.rows > MAX_FUSED_ROWS:  # sharded
            ids = ops.cast(ids, "int64")
        rows = ids + ops.convert_to_tensor(offsets, dtype=ids.dtype)
        options: dict[str, str] = {}
        if training and self.plan.sharded:
            options["exchange_dtype"] = self.exchange_dtype
        with self._place():
            return self.lookup(self.table, rows, **options)  # [B, C, width]

    def compute_output_shape(self, input_shape):
        """Returns `(batch, num_columns, width)`."""
        return (*input_shape, self.plan.width)
