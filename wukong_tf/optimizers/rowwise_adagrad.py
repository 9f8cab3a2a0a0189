"""Rowwise Adagrad: Adagrad with one float of state for each row."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("wukong_tf")
class RowwiseAdagrad(keras.optimizers.Optimizer):
    """Adagrad for embedding tables, with one accumulator for each row.

    For a row with gradient g in R^d, summed over the global batch:

        state += mean(g^2)
        row   -= learning_rate * g / (sqrt(state) + epsilon)

    This is the exact rowwise Adagrad of FBGEMM's table-batched embeddings
    (`EXACT_ROWWISE_ADAGRAD`). Repeated ids are summed first; rows that are
    not in the batch do not move and cost nothing where the gradient is
    sparse (tf.IndexedSlices).

    Args:
        learning_rate: float or schedule. Defaults to 0.01.
        initial_accumulator_value: of every row's state. Defaults to 0.
        epsilon: keeps the division finite. Defaults to 1e-8.
        l2: adds l2 * row to the gradient of the rows in the batch, once a
            row and step. With a dense gradient, those are the rows whose
            gradient is not zero. Defaults to 0.
        name: of the optimizer. Defaults to "rowwise_adagrad".
        **kwargs: as `keras.optimizers.Optimizer` takes them.

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
        learning_rate=0.01,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-8,
        *,
        l2: float = 0.0,
        name: str = "rowwise_adagrad",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        for key, value in (
            ("initial_accumulator_value", initial_accumulator_value),
            ("epsilon", epsilon),
            ("l2", l2),
        ):
            if value < 0:
                raise ValueError(
                    f"RowwiseAdagrad: `{key}` must be at least 0; received "
                    f"{key}={value}."
                )
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon
        self.l2 = l2

    def build(self, variables):
        """Makes one accumulator [rows] for each variable [rows, ...]."""
        if self.built:
            return
        super().build(variables)
        initializer = keras.initializers.Constant(
            self.initial_accumulator_value
        )
        self._accumulators = []
        for variable in variables:
            if len(variable.shape) < 1:
                raise ValueError(
                    "RowwiseAdagrad: a variable must have rows; received "
                    f"{variable.path} of shape {tuple(variable.shape)}."
                )
            self._accumulators.append(
                self.add_variable(
                    shape=(variable.shape[0],),
                    initializer=initializer,
                    dtype=variable.dtype,
                    name=f"{variable.path.replace('/', '_')}_accumulator",
                )
            )

    def accumulator(self, variable):
        """The state [rows] of `variable`."""
        return self._accumulators[self._get_variable_index(variable)]

    def update_step(self, gradient, variable, learning_rate):
        """Moves the rows of `variable` that `gradient` touches."""
        state = self.accumulator(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if _is_sparse(gradient):
            self._update_sparse(gradient, variable, state, learning_rate)
        else:
            self._update_dense(gradient, variable, state, learning_rate)

    def _update_sparse(self, gradient, variable, state, learning_rate):
        import tensorflow as tf

        rows, slot = tf.unique(gradient.indices)  # [U], [N]
        # Sums of repeated ids are stable bit for bit this way; a scatter
        # with repeated ids is not.
        gradient = tf.math.unsorted_segment_sum(
            gradient.values, slot, tf.size(rows)
        )  # [U, ...]
        if self.l2:
            gradient += self.l2 * tf.gather(variable, rows)
        axes = list(range(1, gradient.shape.rank))
        total = tf.gather(state.value, rows) + tf.reduce_mean(
            tf.square(gradient), axes
        )  # [U]
        scale = learning_rate / (tf.sqrt(total) + self.epsilon)  # [U]
        scale = tf.reshape(scale, [-1] + [1] * len(axes))
        state.value.scatter_update(tf.IndexedSlices(total, rows))
        variable.scatter_sub(tf.IndexedSlices(scale * gradient, rows))

    def _update_dense(self, gradient, variable, state, learning_rate):
        axes = tuple(range(1, len(gradient.shape)))
        if self.l2:
            touched = ops.any(gradient != 0, axis=axes, keepdims=True)
            decay = self.l2 * ops.convert_to_tensor(variable)
            gradient = gradient + ops.where(touched, decay, 0.0)
        total = state + ops.mean(ops.square(gradient), axis=axes)
        scale = learning_rate / (ops.sqrt(total) + self.epsilon)
        scale = ops.reshape(scale, (-1,) + (1,) * len(axes))
        self.assign(state, total)
        self.assign_sub(variable, scale * gradient)

    def get_config(self):
        """Every constructor argument."""
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
            "l2": self.l2,
        }


def _is_sparse(gradient) -> bool:
    """Whether `gradient` is tf.IndexedSlices, asked without TensorFlow."""
    return hasattr(gradient, "indices") and hasattr(gradient, "values")
