"""Optimizers of the dense part, by name."""

from typing import Any

import keras
from keras import ops

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError
from wukong_tf.optimizers.clipped_adam import ClippedAdam
from wukong_tf.optimizers.summed import SummedFirst

# Names of weights that are not decayed: biases, and scale and shift of norms.
NOT_DECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedLion(SummedFirst, keras.optimizers.Lion):
    """Lion (arXiv 2302.06675); clipping follows the all-reduce."""


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedMuon(SummedFirst, keras.optimizers.Muon):
    """Muon (arXiv 2502.16982); clipping follows the all-reduce."""

    by_rows = False  # orthogonalizes whole matrices


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedScheduleFree(SummedFirst, keras.optimizers.ScheduleFreeAdamW):
    """Schedule-free AdamW (arXiv 2405.15682); clipping follows the all-reduce.

    The model's weights are y, the points at which gradients are taken;
    `evaluated` returns x, the averages to be evaluated and saved:

        z' = z - rate * gradient(y) / (sqrt(v') + epsilon),
        x' = x + (z' - x) / t,
        y' = (1 - beta_1) z' + beta_1 x'.

    The step is written out because on TensorFlow Keras 3.15 recovers x from z'
    in place of z.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates `variable`, z (the slot "momentum") and v."""
        index = self._get_variable_index(variable)
        z, second = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        x = self._average(ops.convert_to_tensor(variable), z)
        beta_2 = ops.cast(self.beta_2, variable.dtype)
        new = second + (1 - beta_2) * (ops.square(gradient) - second)
        scale = ops.sqrt(new / (1 - ops.power(beta_2, step))) + self.epsilon
        rate = ops.cast(learning_rate, variable.dtype)
        new_z = z - rate * gradient / scale
        x = x + (new_z - x) / step
        self.assign(second, new)
        self.assign(z, new_z)
        self.assign(variable, (1 - self.beta_1) * new_z + self.beta_1 * x)

    def assign(self, variable: Any, value: Any):
        """Assigns; to a slot with some rows, these rows of `value`."""
        layout = getattr(variable, "shards", None)
        if layout is not None and value.shape != variable.shape:
            value = value[slice(*layout.run)]
        super().assign(variable, value)

    def _average(self, y, z):
        return (y - (1 - self.beta_1) * z) / self.beta_1

    def evaluated(self, variables: Any) -> list:
        """Returns x of each of `variables`, or of the rows with slots here."""
        found = []
        for variable in variables:
            z = self._momentums[self._get_variable_index(variable)]
            y = ops.convert_to_tensor(variable)
            if layout := getattr(z, "shards", None):
                y = y[slice(*layout.run)]
            found.append(self._average(y, z))
        return found

    def restart(self, variables: Any):
        """Starts from the present values of `variables`."""
        for variable in variables:
            z = self._momentums[self._get_variable_index(variable)]
            self.assign(z, ops.copy(variable))


DENSE_OPTIMIZERS: dict[str, Any] = {
    "adam": ClippedAdam,
    "lion": ClippedLion,
    "muon": ClippedMuon,
    "schedule_free": ClippedScheduleFree,
}


def dense_optimizer(
    name: str,
    learning_rate: Any,
    *,
    weight_decay: float = 0.0,
    global_clipnorm: float | None = None,
) -> keras.optimizers.Optimizer:
    """Returns a Keras optimizer for all weights but tables.

    Args:
        name: "adam", "lion", "muon" or "schedule_free". Muon orthogonalizes
            the updates of matrices; AdamW updates other weights, and those
            of the feature embedding.
        learning_rate: a number or a schedule of Keras.
        weight_decay: decoupled weight decay (AdamW's, arXiv 1711.05101) of
            all weights but biases and those of norms. Defaults to 0.0.
        global_clipnorm: largest global norm of the gradient of the global
            batch. Defaults to None, not clipped.

    Raises:
        ConfigError: `name` is none of these, or "schedule_free" is to decay
            weights: Keras's decays the average, which the paper does not.
    """
    schema.check_choice("dense_optimizer", "name", name, [*DENSE_OPTIMIZERS])
    if weight_decay and name == "schedule_free":
        raise ConfigError(
            "dense_optimizer: `weight_decay` must be 0 for schedule_free; "
            f"received {weight_decay}."
        )
    optimizer = DENSE_OPTIMIZERS[name](
        learning_rate,
        weight_decay=weight_decay or None,
        global_clipnorm=global_clipnorm,
    )
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer
