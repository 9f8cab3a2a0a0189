"""The learning rates of a run."""

from typing import Any

import keras

from trainer.settings import Training
from wukong_tf.config import LogisticRegressionConfig, ModelConfig
from wukong_tf.errors import ConfigError
from wukong_tf.optimizers import LinearWarmup, WarmupDecay


class Rates:
    """The learning rates of a run, by the schedule of its settings.

    Args:
        config: the model's configuration.
        training: the settings.
        steps: steps of all epochs, over which rates decay unless the
            settings say another number.

    Attributes:
        plateau: factor of both rates, set after evaluations; None unless
            the schedule is "plateau".
    """

    def __init__(self, config: ModelConfig, training: Training, steps: int):
        self._training = training
        self._steps = training.decay_steps or steps
        self.plateau: keras.Variable | None = None
        if training.learning_rate_schedule == "plateau":
            self.plateau = keras.Variable(
                1.0,
                trainable=False,
                dtype="float32",
                aggregation="only_first_replica",
                name="plateau",
            )
        decays = training.learning_rate_schedule != "constant"
        self.dense = self._schedule(dense_rate(config, training), decays)
        self.tables = self._schedule(
            table_rate(config, training), decays and training.decay_table_rate
        )

    def _schedule(self, rate, decays):
        training = self._training
        if not decays:
            return LinearWarmup(rate, training.warmup_steps)
        if self.plateau is not None:
            return _Scaled(rate, training.warmup_steps, self.plateau)
        if self._steps <= training.warmup_steps:
            raise ConfigError(
                f"--learning_rate_schedule={training.learning_rate_schedule} "
                "must end after warm-up: --decay_steps, or else the steps of "
                f"all epochs, must be above --warmup_steps; received "
                f"{self._steps} and {training.warmup_steps}."
            )
        return WarmupDecay(
            rate,
            training.warmup_steps,
            self._steps,
            training.learning_rate_schedule,
            training.final_rate_fraction,
        )

    def follow(self, evaluations: list[dict[str, Any]]) -> bool:
        """Sets the factor of a plateau; returns whether it has fallen."""
        if self.plateau is None:
            return False
        count = plateaus(evaluations, self._training.plateau_patience)
        factor = self._training.plateau_factor**count
        factor = max(factor, self._training.final_rate_fraction)
        before = float(keras.ops.convert_to_numpy(self.plateau))
        self.plateau.assign(factor)
        return factor < before * (1 - 1e-6)


class _Scaled(LinearWarmup):
    """A warm-up whose rate is multiplied by a variable."""

    def __init__(self, learning_rate, warmup_steps, factor):
        super().__init__(learning_rate, warmup_steps)
        self._factor = factor

    def __call__(self, step):
        return super().__call__(step) * self._factor


def plateaus(evaluations: list[dict[str, Any]], patience: int) -> int:
    """Returns how often `patience` evaluations in a row did not improve."""
    count = waited = 0
    for evaluation in evaluations:
        waited = 0 if evaluation["best"] else waited + 1
        if waited == patience:
            count, waited = count + 1, 0
    return count


def dense_rate(config: ModelConfig, training: Training) -> float:
    """Returns the dense part's learning rate.

    It is that of first-order weights if there are no others.
    """
    if config.first_order:
        return training.first_order_learning_rate
    return training.learning_rate


def table_rate(config: ModelConfig, training: Training) -> float:
    """Returns the tables' learning rate; first-order tables have their own."""
    if isinstance(config, LogisticRegressionConfig):
        return training.first_order_table_learning_rate
    return training.table_learning_rate
