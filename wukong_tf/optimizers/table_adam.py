"""Adam for embedding tables, with the L2 of their rows in its gradient."""

from typing import Any

import keras
from keras import ops

from wukong_tf.optimizers import replica_sum
from wukong_tf.optimizers.clipped_adam import ClippedAdam
from wukong_tf.optimizers.row_settings import (
    RowSettings,
    Runs,
    broadcast,
    is_sparse,
)


@keras.saving.register_keras_serializable("wukong_tf")
class TableAdam(RowSettings, ClippedAdam):
    """Adam (arXiv 1412.6980) for embedding tables, over all rows.

    Every row moves in every step: moments of a row that is not in the batch
    decay, and with `l2_scope="all"` its decay is a gradient like any other, of
    which Adam makes a step of about the learning rate. This is what an L2
    penalty on whole tables in the loss does under Adam, as in FuxiCTR's
    recipes. A step takes O(rows) time and memory, and the state two floats for
    each number of the table: for tables of up to a few million numbers.

    Args:
        learning_rate: float or schedule. Defaults to 0.001.
        l2: adds l2 * row to the gradient of a row. Defaults to 0.
        l2_scope: rows that `l2` decays in a step: "touched", those in the
            batch (with a dense gradient, those whose gradient is not zero), or
            "all". Defaults to "all".
        row_runs: as in `RowwiseAdagrad`. Defaults to None.
        name: name of the optimizer. Defaults to "table_adam".
        **kwargs: as `keras.optimizers.Adam` takes them.

    Raises:
        ValueError: a variable has no rows (rank 0), or a value is negative.

    Example:
        >>> optimizer = TableAdam(0.1)
        >>> table = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
        >>> gradient = keras.ops.array([[1.0, 1.0], [0.0, 0.0]])
        >>> optimizer.apply([gradient], [table])
        >>> [round(float(x), 4) for x in table.value[0]]
        [0.9, 1.9]
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        *,
        l2: float = 0.0,
        l2_scope: str = "all",
        row_runs: Runs | None = None,
        name: str = "table_adam",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.set_rows(l2, l2_scope, row_runs)

    def build(self, variables: Any):
        """Creates two moments of the shape of each variable [rows, ...]."""
        if self.built:
            return
        super().build(variables)
        self.build_rows(variables)

    def add_variable_from_reference(
        self, reference_variable: Any, *args: Any, **kwargs: Any
    ):
        """Creates a moment on the device of its variable."""
        with self.colocated(reference_variable):
            return super().add_variable_from_reference(
                reference_variable, *args, **kwargs
            )

    def row_slots(self, variable: Any) -> dict[str, Any]:
        """Returns the optimizer's variables with a row for each of a table."""
        index = self._get_variable_index(variable)
        return {
            "momentum": self._momentums[index],
            "velocity": self._velocities[index],
        }

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates all rows of `variable` and their moments."""
        if is_sparse(gradient):
            gradient = self._dense(gradient, variable)
        else:
            gradient = ops.convert_to_tensor(gradient)
            gradient = self.decayed(gradient, variable)
        if self.runs_for(variable) is None:
            super().update_step(gradient, variable, learning_rate)
            return
        learning_rate = ops.cast(learning_rate, variable.dtype)
        rates, _ = self.row_settings(variable, learning_rate)  # [rows]
        keras.optimizers.Adam.update_step(
            self, gradient, variable, broadcast(rates, gradient)
        )

    def _dense(self, gradient, variable):
        """Returns the dense gradient of tf.IndexedSlices, with its L2."""
        import tensorflow as tf

        rows, sums = replica_sum.summed_rows(gradient)  # [U], [U, ...]
        if self.decays(variable) and self.l2_scope == "touched":
            _, l2 = self.row_settings(variable, 1.0, rows)
            sums += broadcast(l2, sums) * tf.gather(variable, rows)
        dense = tf.math.unsorted_segment_sum(sums, rows, variable.shape[0])
        if self.l2_scope == "touched":
            return dense
        return self.decayed(dense, variable)

    def get_config(self):
        """Returns every constructor argument."""
        return {**super().get_config(), **self.row_config()}
