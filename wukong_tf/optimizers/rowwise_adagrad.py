"""Rowwise Adagrad: Adagrad with one float of state for each row."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wukong_tf.embeddings import table_rows
from wukong_tf.optimizers import replica_sum

L2_SCOPES = ("touched", "all")


@keras.saving.register_keras_serializable("wukong_tf")
class RowwiseAdagrad(keras.optimizers.Optimizer):
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
        row_runs: Mapping[str, Sequence[Sequence[float]]] | None = None,
        name: str = "rowwise_adagrad",
        **kwargs: Any,
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
        if not epsilon and not initial_accumulator_value:
            raise ValueError(
                "RowwiseAdagrad: `epsilon` or `initial_accumulator_value` must "
                "be above 0, as gradients of 0 would be divided by 0; received "
                f"epsilon={epsilon} and initial_accumulator_value="
                f"{initial_accumulator_value}."
            )
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon
        if l2_scope not in L2_SCOPES:
            raise ValueError(
                f"RowwiseAdagrad: `l2_scope` must be one of "
                f"{list(L2_SCOPES)}; received l2_scope={l2_scope!r}."
            )
        self.l2 = l2
        self.l2_scope = l2_scope
        self.gradients_are_summed = False
        self.row_runs = {
            path: [list(run) for run in runs]
            for path, runs in (row_runs or {}).items()
        }

    def build(self, variables: Any):
        """Creates one accumulator [rows] for each variable [rows, ...]."""
        if self.built:
            return
        super().build(variables)
        initializer = keras.initializers.Constant(
            self.initial_accumulator_value
        )
        self._runs = [self.row_runs.get(v.path) for v in variables]
        self._accumulators = []
        for variable in variables:
            if len(variable.shape) < 1:
                raise ValueError(
                    "RowwiseAdagrad: a variable must have rows; received "
                    f"{variable.path} of shape {tuple(variable.shape)}."
                )
            self._check_runs(variable)
            with self._colocated(variable):
                self._accumulators.append(
                    self.add_variable(
                        shape=(variable.shape[0],),
                        initializer=initializer,
                        dtype=variable.dtype,
                        name=f"{variable.path.replace('/', '_')}_accumulator",
                    )
                )

    def _colocated(self, variable):
        """Returns a context that places variables on `variable`'s device."""
        strategy = getattr(self, "_distribution_strategy", None)
        if strategy is None:  # not the TensorFlow backend
            return contextlib.nullcontext()
        return strategy.extended.colocate_vars_with(variable.value)

    def _check_runs(self, variable):
        runs = self.row_runs.get(variable.path)
        if runs is None:
            return
        for rows, factor, l2 in runs:
            if rows < 1 or factor <= 0 or l2 < 0:
                raise ValueError(
                    "RowwiseAdagrad: each of `row_runs` must have at least "
                    "one row, a factor above 0 and an l2 of at least 0; "
                    f"received {[rows, factor, l2]} for {variable.path}."
                )
        total = sum(rows for rows, _, _ in runs)
        if total != variable.shape[0]:
            raise ValueError(
                f"RowwiseAdagrad: `row_runs` must cover the "
                f"{variable.shape[0]} rows of {variable.path}; they cover "
                f"{total}."
            )

    def _all_reduce_sum_gradients(self, grads_and_vars):
        if self.gradients_are_summed:
            return grads_and_vars
        gradients, variables = zip(*grads_and_vars, strict=True)
        sums = replica_sum.sum_over_replicas(
            gradients, variables, [replica_sum.GATHER] * len(variables)
        )
        return list(zip(sums, variables, strict=True))

    def accumulator(self, variable: Any):
        """Returns the accumulator [rows] of `variable`."""
        return self._accumulators[self._get_variable_index(variable)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates the rows of `variable` that `gradient` touches."""
        state = self.accumulator(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        everywhere = self.l2_scope == "all" and self._decays(variable)
        if _is_sparse(gradient) and not everywhere:
            self._update_sparse(gradient, variable, state, learning_rate)
        else:
            self._update_dense(
                ops.convert_to_tensor(gradient), variable, state, learning_rate
            )

    def _runs_for(self, variable):
        # By index: TensorFlow's own variable has another path.
        return self._runs[self._get_variable_index(variable)]

    def _decays(self, variable):
        runs = self._runs_for(variable)
        return any(l2 for _, _, l2 in runs) if runs else bool(self.l2)

    def _row_settings(self, variable, learning_rate, rows=None):
        """Returns learning rate and l2: one of all rows, or [U] of `rows`."""
        runs = self._runs_for(variable)
        if runs is None:
            return learning_rate, self.l2
        lengths, factors, l2 = zip(*runs, strict=True)
        if rows is None:
            settings = ops.convert_to_tensor(
                np.repeat([factors, l2], lengths, axis=1), variable.dtype
            )  # [2, rows]
            return learning_rate * settings[0], settings[1]
        ends = ops.convert_to_tensor(np.cumsum(lengths), rows.dtype)
        run = ops.searchsorted(ends, rows, side="right")  # [U]
        factors = ops.convert_to_tensor(factors, variable.dtype)
        l2 = ops.convert_to_tensor(l2, variable.dtype)
        return learning_rate * ops.take(factors, run), ops.take(l2, run)

    def _update_sparse(self, gradient, variable, state, learning_rate):
        import tensorflow as tf

        rows, gradient = replica_sum.summed_rows(gradient)  # [U], [U, ...]
        learning_rate, l2 = self._row_settings(variable, learning_rate, rows)
        if self._decays(variable):
            l2 = _broadcast(l2, gradient)
            gradient += l2 * tf.gather(variable, rows)
        axes = list(range(1, gradient.shape.rank))
        total = tf.gather(table_rows.local(state.value), rows) + tf.reduce_mean(
            tf.square(gradient), axes
        )  # [U]
        scale = learning_rate / (tf.sqrt(total) + self.epsilon)  # [U]
        scale = _broadcast(scale, gradient)
        state.value.scatter_update(tf.IndexedSlices(total, rows))
        variable.scatter_sub(tf.IndexedSlices(scale * gradient, rows))

    def _update_dense(self, gradient, variable, state, learning_rate):
        axes = tuple(range(1, len(gradient.shape)))
        learning_rate, l2 = self._row_settings(variable, learning_rate)
        if self._decays(variable):
            decay = _broadcast(l2, gradient) * ops.convert_to_tensor(variable)
            if self.l2_scope == "touched":
                touched = ops.any(gradient != 0, axis=axes, keepdims=True)
                decay = ops.where(touched, decay, 0.0)
            gradient = gradient + decay
        total = state + ops.mean(ops.square(gradient), axis=axes)
        scale = learning_rate / (ops.sqrt(total) + self.epsilon)
        scale = _broadcast(scale, gradient)
        self.assign(state, total)
        self.assign_sub(variable, scale * gradient)

    def get_config(self):
        """Returns every constructor argument."""
        return {
            **super().get_config(),
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
            "l2": self.l2,
            "l2_scope": self.l2_scope,
            "row_runs": self.row_runs or None,
        }


def _broadcast(numbers, rows):
    """Reshapes numbers [U] to broadcast with rows [U, ...]."""
    if not getattr(numbers, "shape", ()):
        return numbers
    return ops.reshape(numbers, (-1,) + (1,) * (len(rows.shape) - 1))


def _is_sparse(gradient) -> bool:
    """Returns whether `gradient` is tf.IndexedSlices.

    Does not import TensorFlow; PyTorch's tensors have methods of these names.
    """
    return keras.backend.backend() == "tensorflow" and hasattr(
        gradient, "indices"
    )
