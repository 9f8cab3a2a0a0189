"""Learning-rate schedules."""

import keras
from keras import ops


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

    def __call__(self, step):
        """Returns the rate, float32, of the step numbered `step` from 0."""
        done = (ops.cast(step, "float32") + 1.0) / max(1, self.warmup_steps)
        return self.learning_rate * ops.minimum(1.0, done)

    def get_config(self):
        """Returns every constructor argument."""
        return {
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
        }
