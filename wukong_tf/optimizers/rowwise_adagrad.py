"""Rowwise Adagrad: Adagrad with one float of state for each row."""

from typing import Any

import keras
from keras import ops

from wukong_tf.embeddings import table_rows
from wukong_tf.optimizers import replica_sum
from wukong_tf.optimizers.row_settings import (
    RowSettings,
    Runs,
    broadcast,
    is_sparse,
)


@keras.saving.register_keras_serializable("wukong_tf")
class RowwiseAdagrad(RowSettings, keras.optimizers.Optimizer):
    """Adagrad for embedding tables, with one accumulator for each row.

    For a row with gradient g in R^d, summed over the global batch:

        state += mean(g^2)
        row   -= learning_rate * g / (sqrt(state) + epsilon)

    This is the exact rowwise Adagrad of FBGEMM's table-batched embeddings
    (`EXACT_ROWWISE_ADAGRAD`). Repeated ids are summed first; rows that are not
    in the batch are unchanged and cost nothing if the gradient is sparse
    (tf.IndexedSlices). JAX and PyTorch give dense gradients, in which repeated
    ids are already summed: the updates are the same, in O(rows) time.

    Args:
        learning_rate: float or schedule. Defaults to 0.01.
        initial_accumulator_value: initial state of every row. Defaults to 0.
        epsilon: keeps the division finite; above 0 unless states start
            above 0. Defaults to 1e-8.
        l2: adds l2 * row to the gradient of the rows in the batch, once per row
            and step. With a dense gradient, those are the rows whose gradient
            is not zero. Defaults to 0.
        l2_scope: "touched", as above, or "all": l2 * row is added to the
            gradient of every row of the table in every step. That takes
            O(rows) time a step and several times the table's memory.
            Defaults to "touched".
        row_runs: for variables whose rows have different settings, dict of path
            to a list of [rows, factor of the learning rate, l2], one for each
            run of rows, in order, that together cover all rows. Defaults to
            None.
        name: name of the optimizer. Defaults to "rowwise_adagrad".
        **kwargs: as `keras.optimizers.Optimizer` takes them.

    Attributes:
        gradients_are_summed: whether the gradients that `apply` gets are
            already summed over all replicas. False by default: they are summed
            over the replicas of the strategy, repeated ids first.

    Raises:
        ValueError: a variable has no rows (rank 0), or a value is negative.

    Example:
        >>> optimizer = RowwiseAdagrad(0.1)
        >>> table = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
        >>> gradient = keras.ops.array([[1.0, 1.0], [0.0, 0.0]])
        >>> optimizer.apply([gradient], [table])
        >>> [round(float(x), 4) for x in table.value[0]]
        [0.9, 1.9]
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-8,
        *,
        l2: float = 0.0,
        l2_scope: str = "touched",
        row_runs: Runs | None = None,
        name: str = "rowwise_adagrad",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.check_not_negative(
            "initial_accumulator_value", initial_accumulator_value
        )
        self.check_not_negative("epsilon", epsilon)
        if not epsilon and not initial_accumulator_value:
            raise ValueError(
                "RowwiseAdagrad: `epsilon` or `initial_accumulator_value` must "
                "be above 0, as gradients of 0 would be divided by 0; received "
                f"epsilon={epsilon} and initial_accumulator_value="
                f"{initial_accumulator_value}."
            )
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon
        self.gradients_are_summed = False
        self.set_rows(l2, l2_scope, row_runs)

    def build(self, variables: Any):
        """Creates one accumulator [rows] for each variable [rows, ...]."""
        if self.built:
            return
        super().build(variables)
        initializer = keras.initializers.Constant(
            self.initial_accumulator_value
        )
        self.build_rows(variables)
        self._accumulators = []
        for variable in variables:
            with self.colocated(variable):
                accumulator = self.add_variable(
                    shape=(variable.shape[0],),
                    initializer=initializer,
                    dtype=variable.dtype,
                    name=f"{variable.path.replace('/', '_')}_accumulator",
                )
            if hasattr(variable, "shards"):
                accumulator.shards = variable.shards
            self._accumulators.append(accumulator)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        if self.gradients_are_summed:
            return grads_and_vars
        gradients, variables = zip(*grads_and_vars, strict=True)
        sums = replica_sum.sum_over_replicas(
            gradients, variables, [replica_sum.GATHER] * len(variables)
        )
        return list(zip(sums, variables, strict=True))

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """Updates variables; sharded ones without the strategy.

        No other worker has the rows that it owns, or their summed gradients.
        """
        pairs = list(zip(grads, trainable_variables, strict=True))
        shared = [pair for pair in pairs if not hasattr(pair[1], "shards")]
        for gradient, variable in pairs:
            if hasattr(variable, "shards"):
                self.update_step(gradient, variable.value, learning_rate)
        if shared:
            super()._backend_update_step(
                *map(list, zip(*shared, strict=True)), learning_rate
            )

    def accumulator(self, variable: Any):
        """Returns the accumulator [rows] of `variable`."""
        return self._accumulators[self._get_variable_index(variable)]

    def row_slots(self, variable: Any) -> dict[str, Any]:
        """Returns the optimizer's variables with a row for each of a table."""
        return {"accumulator": self.accumulator(variable)}

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates the rows of `variable` that `gradient` touches."""
        state = self.accumulator(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        everywhere = self.l2_scope == "all" and self.decays(variable)
        if is_sparse(gradient) and not everywhere:
            self._update_sparse(gradient, variable, state, learning_rate)
        else:
            self._update_dense(
                ops.convert_to_tensor(gradient), variable, state, learning_rate
            )

    def _update_sparse(self, gradient, variable, state, learning_rate):
        import tensorflow as tf

        rows, gradient = replica_sum.summed_rows(gradient)  # [U], [U, ...]
        learning_rate, l2 = self.row_settings(variable, learning_rate, rows)
        if self.decays(variable):
            l2 = broadcast(l2, gradient)
            gradient += l2 * tf.gather(variable, rows)
        axes = list(range(1, gradient.shape.rank))
        total = tf.gather(table_rows.local(state.value), rows) + tf.reduce_mean(
            tf.square(gradient), axes
        )  # [U]
        scale = learning_rate / (tf.sqrt(total) + self.epsilon)  # [U]
        scale = broadcast(scale, gradient)
        state.value.scatter_update(tf.IndexedSlices(total, rows))
        variable.scatter_sub(tf.IndexedSlices(scale * gradient, rows))

    def _update_dense(self, gradient, variable, state, learning_rate):
        axes = tuple(range(1, len(gradient.shape)))
        learning_rate, _ = self.row_settings(variable, learning_rate)
        gradient = self.decayed(gradient, variable)
        total = state + ops.mean(ops.square(gradient), axis=axes)
        scale = learning_rate / (ops.sqrt(total) + self.epsilon)
        scale = broadcast(scale, gradient)
        self.assign(state, total)
        self.assign_sub(variable, scale * gradient)

    def get_config(self):
        """Returns every constructor argument."""
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
            **self.row_config(),
        }
