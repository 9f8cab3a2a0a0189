"""Learning rates and L2 of rows, as all optimizers of tables apply them."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from wukong_tf.embeddings import table_rows

L2_SCOPES = ("touched", "all")
Runs = Mapping[str, Sequence[Sequence[float]]]


class RowSettings:
    """Mixin for Keras optimizers of tables: settings of rows and of runs.

    List it before the optimizer among the bases; call `set_rows` at the end of
    the constructor and `build_rows` in `build`.
    """

    def set_rows(self, l2: float, l2_scope: str, row_runs: Runs | None):
        """Sets what `l2`, `l2_scope` and `row_runs` of an optimizer mean.

        Raises:
            ValueError: `l2` is negative, or the scope unknown.
        """
        self.check_not_negative("l2", l2)
        if l2_scope not in L2_SCOPES:
            raise ValueError(
                f"{type(self).__name__}: `l2_scope` must be one of "
                f"{list(L2_SCOPES)}; received l2_scope={l2_scope!r}."
            )
        self.l2 = l2
        self.l2_scope = l2_scope
        self.row_runs = {
            path: [list(run) for run in runs]
            for path, runs in (row_runs or {}).items()
        }

    def check_not_negative(self, name: str, value: float):
        """Raises ValueError if an argument is negative."""
        if value < 0:
            raise ValueError(
                f"{type(self).__name__}: `{name}` must be at least 0; received "
                f"{name}={value}."
            )

    def build_rows(self, variables: Sequence[Any]):
        """Checks that the runs cover the rows of their variables.

        Raises:
            ValueError: a variable has no rows (rank 0), or runs do not fit.
        """
        self._runs = [self.row_runs.get(v.path) for v in variables]
        for variable in variables:
            if len(variable.shape) < 1:
                raise ValueError(
                    f"{type(self).__name__}: a variable must have rows; "
                    f"received {variable.path} of shape "
                    f"{tuple(variable.shape)}."
                )
            self._check_runs(variable)

    def _check_runs(self, variable):
        runs = self.row_runs.get(variable.path)
        if runs is None:
            return
        for rows, factor, l2 in runs:
            if rows < 1 or factor <= 0 or l2 < 0:
                raise ValueError(
                    f"{type(self).__name__}: each of `row_runs` must have at "
                    "least one row, a factor above 0 and an l2 of at least 0; "
                    f"received {[rows, factor, l2]} for {variable.path}."
                )
        total = sum(rows for rows, _, _ in runs)
        if total != variable.shape[0]:
            raise ValueError(
                f"{type(self).__name__}: `row_runs` must cover the "
                f"{variable.shape[0]} rows of {variable.path}; they cover "
                f"{total}."
            )

    def colocated(self, variable: Any):
        """Returns a context that places variables on `variable`'s device."""
        if hasattr(variable, "shards"):
            return table_rows.unmirrored()
        strategy = getattr(self, "_distribution_strategy", None)
        if strategy is None:  # not the TensorFlow backend
            return contextlib.nullcontext()
        return strategy.extended.colocate_vars_with(variable.value)

    def runs_for(self, variable: Any):
        """Returns the runs of a variable's rows, or None."""
        # By index: TensorFlow's own variable has another path.
        optimizer: Any = self
        return self._runs[optimizer._get_variable_index(variable)]

    def decays(self, variable: Any) -> bool:
        """Returns whether any row of a variable has an L2."""
        runs = self.runs_for(variable)
        return any(l2 for _, _, l2 in runs) if runs else bool(self.l2)

    def row_settings(
        self, variable: Any, learning_rate: Any, rows: Any = None
    ) -> tuple[Any, Any]:
        """Returns learning rate and l2: one of all rows, or [U] of `rows`."""
        runs = self.runs_for(variable)
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

    def decayed(self, gradient: Any, variable: Any) -> Any:
        """Returns a dense gradient [rows, ...] with the L2 of its rows."""
        if not self.decays(variable):
            return gradient
        _, l2 = self.row_settings(variable, 1.0)
        decay = broadcast(l2, gradient) * ops.convert_to_tensor(variable)
        if self.l2_scope == "touched":
            axes = tuple(range(1, len(gradient.shape)))
            touched = ops.any(gradient != 0, axis=axes, keepdims=True)
            decay = ops.where(touched, decay, 0.0)
        return gradient + decay

    def row_config(self) -> dict[str, Any]:
        """Returns the constructor arguments that `set_rows` took."""
        return {
            "l2": self.l2,
            "l2_scope": self.l2_scope,
            "row_runs": self.row_runs or None,
        }


def broadcast(numbers: Any, rows: Any) -> Any:
    """Reshapes numbers [U] to broadcast with rows [U, ...]."""
    if not getattr(numbers, "shape", ()):
        return numbers
    return ops.reshape(numbers, (-1,) + (1,) * (len(rows.shape) - 1))


def is_sparse(gradient: Any) -> bool:
    """Returns whether `gradient` is tf.IndexedSlices.

    Does not import TensorFlow; PyTorch's tensors have methods of these names.
    """
    return keras.backend.backend() == "tensorflow" and hasattr(
        gradient, "indices"
    )
