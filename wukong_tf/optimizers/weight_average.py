"""A running average of weights, often better than the last weights."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops


class WeightAverage:
    """An exponential moving average of some variables.

    After step t, from 1, each average a of a variable w becomes

        a += (1 - d) (w - a),   d = min(decay, (1 + t) / (10 + t)),

    so that the first weights are soon forgotten. Meant for the dense part: an
    average of tables would update every row in every step.

    Args:
        variables: Keras variables; tables should not be among them.
        decay: in (0, 1); about 1 / (1 - decay) steps are averaged.

    Raises:
        ValueError: `decay` is outside (0, 1).

    Example:
        >>> weight = keras.Variable([0.0])
        >>> average = WeightAverage([weight], decay=0.9)
        >>> weight.assign([11.0])
        >>> average.update(1)
        >>> float(average.averages[0][0])
        9.0
    """

    def __init__(self, variables: Sequence[Any], decay: float):
        if not 0 < decay < 1:
            raise ValueError(
                f"WeightAverage: `decay` must be in (0, 1); received {decay}."
            )
        self.decay = decay
        self.variables = list(variables)
        self.averages = [
            keras.Variable(
                ops.copy(variable),
                trainable=False,
                dtype=variable.dtype,
                # Every replica computes the same values.
                aggregation="only_first_replica",
                name=f"{variable.path.replace('/', '_')}_average",
            )
            for variable in self.variables
        ]

    def update(self, step: Any):
        """Updates the averages with the weights after `step` steps, from 1."""
        step = ops.cast(step, "float32")
        decay = ops.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for variable, average in self.pairs():
            share = ops.cast(1.0 - decay, variable.dtype)
            average.assign_add(share * (variable - average))

    def restart(self):
        """Resets the averages to the values of the variables."""
        for variable, average in self.pairs():
            average.assign(variable)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Sets the variables to their averages within the context."""
        before = [ops.convert_to_numpy(variable) for variable in self.variables]
        for variable, average in self.pairs():
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self.variables, before, strict=True):
                variable.assign(value)

    def pairs(self):
        """Returns pairs (variable, average)."""
        return zip(self.variables, self.averages, strict=True)


class OptimizerAverage(WeightAverage):
    """The averages that an optimizer such as schedule-free AdamW keeps.

    Args:
        variables: the optimizer's variables; it must be built.
        optimizer: has `evaluated(variables)`, which returns their averages,
            or the rows of them that it updates, `owned` as in `SummedFirst`,
            and `restart(variables)`.
    """

    def __init__(self, variables: Sequence[Any], optimizer: Any):
        super().__init__(variables, decay=0.5)
        self._optimizer = optimizer

    def update(self, step: Any):
        """Copies the optimizer's averages."""
        del step
        values = self._optimizer.evaluated(self.variables)
        owned = self._optimizer.owned
        if owned is not None:
            owned.assign(self.averages, values)
            owned.exchange(self.averages)
            return
        for average, value in zip(self.averages, values, strict=True):
            average.assign(value)

    def restart(self):
        """Resets averages and optimizer to the values of the variables."""
        super().restart()
        self._optimizer.restart(self.variables)
