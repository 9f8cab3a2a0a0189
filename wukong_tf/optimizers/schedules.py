"""Learning-rate schedules."""

import math
from typing import Any

import keras
from keras import ops

from wukong_tf.config import schema

DECAYS = ("linear", "cosine")


@keras.saving.register_keras_serializable("wukong_tf")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the full rate, which is then constant.

    rate(step) = learning_rate * min(1, (step + 1) / warmup_steps)

    Args:
        learning_rate: full learning rate.
        warmup_steps: steps to reach it; 0 for none.
    """

    def __init__(self, learning_rate: float, warmup_steps: int):
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        """Returns the rate, float32, of the step numbered `step` from 0."""
        done = (ops.cast(step, "float32") + 1.0) / max(1, self.warmup_steps)
        return self.learning_rate * ops.minimum(1.0, done)

    def get_config(self) -> dict[str, Any]:
        """Returns every constructor argument."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable("wukong_tf")
class WarmupDecay(LinearWarmup):
    """Linear warm-up to the full rate, then decay until `decay_steps`.

    After warm-up, with p = (step - warmup_steps) / (decay_steps -
    warmup_steps) in [0, 1], the full rate is multiplied by

        linear: f + (1 - f) (1 - p)
        cosine: f + (1 - f) (1 + cos(pi p)) / 2

    with f = `final_fraction`. The cosine is that of SGDR (arXiv 1608.03983),
    without restarts.

    Args:
        learning_rate: full learning rate.
        warmup_steps: steps to reach it; 0 for none.
        decay_steps: step from which the rate is f times the full rate.
        decay: "linear" or "cosine". Defaults to "cosine".
        final_fraction: f, in [0, 1]. Defaults to 0.0.

    Raises:
        ConfigError: `decay` is neither, or `decay_steps` is not above
            `warmup_steps`.
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int,
        decay_steps: int,
        decay: str = "cosine",
        final_fraction: float = 0.0,
    ):
        super().__init__(learning_rate, warmup_steps)
        schema.check_choice("WarmupDecay", "decay", decay, DECAYS)
        schema.check_int(
            "WarmupDecay", "decay_steps", decay_steps, warmup_steps + 1
        )
        self.decay_steps = decay_steps
        self.decay = decay
        self.final_fraction = final_fraction

    def __call__(self, step: Any) -> Any:
        """Returns the rate, float32, of the step numbered `step` from 0."""
        length = self.decay_steps - self.warmup_steps
        after = ops.cast(ops.subtract(step, self.warmup_steps), "float32")
        left = 1.0 - ops.clip(after / length, 0.0, 1.0)
        if self.decay == "cosine":
            left = 0.5 * (1.0 - ops.cos(math.pi * left))
        fraction = self.final_fraction
        return super().__call__(step) * (fraction + (1.0 - fraction) * left)

    def get_config(self) -> dict[str, Any]:
        """Returns every constructor argument."""
        return {
            **super().get_config(),
            "decay_steps": self.decay_steps,
            "decay": self.decay,
            "final_fraction": self.final_fraction,
        }
