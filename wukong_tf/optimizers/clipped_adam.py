"""Adam that clips the gradient of the global batch by its global norm."""

from typing import Any

import keras

from wukong_tf.optimizers.summed import SummedFirst


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedAdam(SummedFirst, keras.optimizers.Adam):
    """Adam; with `global_clipnorm`, clipping follows the all-reduce.

    On TensorFlow a variable and its moments are updated in one operation, which
    saves passes over memory that Keras's implementation needs.

    Takes the arguments of `keras.optimizers.Adam`.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates `variable` and its two moments."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1 = tf.constant(self.beta_1, variable.dtype)
        beta_2 = tf.constant(self.beta_2, variable.dtype)
        powers = tf.pow(beta_1, step), tf.pow(beta_2, step)
        rate = tf.cast(learning_rate, variable.dtype)
        epsilon = tf.constant(self.epsilon, variable.dtype)
        gradient = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        if not hasattr(variable, "handle"):  # some rows of a variable
            rate *= tf.sqrt(1 - powers[1]) / (1 - powers[0])
            m.assign_add((gradient - m) * (1 - beta_1))
            v.assign_add((tf.square(gradient) - v) * (1 - beta_2))
            variable.assign_sub(rate * m / (tf.sqrt(v) + epsilon))
            return
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=epsilon,
            grad=gradient,
        )
