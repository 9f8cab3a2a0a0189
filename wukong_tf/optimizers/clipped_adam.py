"""Adam that clips the gradient of the global batch by its global norm."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedAdam(keras.optimizers.Adam):
    """Adam; with `global_clipnorm`, clipping follows the all-reduce.

    Keras clips each replica's gradient before the all-reduce, so the result
    depends on the number of replicas. Here the sum is clipped, so that N
    replicas take the same step as one.

    On TensorFlow a variable and its moments are updated in one operation, which
    saves passes over memory that Keras's implementation needs.

    Takes the arguments of `keras.optimizers.Adam`.

    Attributes:
        gradients_are_summed: whether the gradients that `apply` gets are
            already summed over all replicas. False by default.
    """

    gradients_are_summed = False

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any):
        """Updates `variable` and its two moments."""
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1 = tf.constant(self.beta_1, variable.dtype)
        beta_2 = tf.constant(self.beta_2, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, variable.dtype),
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
        )

    def _clip_gradients(self, grads):
        if keras.backend.backend() == "tensorflow":
            return grads  # clipped below, after the all-reduce
        return super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        reduced = grads_and_vars
        if not self.gradients_are_summed:
            reduced = super()._all_reduce_sum_gradients(grads_and_vars)
        variables = [variable for _, variable in reduced]
        grads = super()._clip_gradients([gradient for gradient, _ in reduced])
        return list(zip(grads, variables, strict=True))
