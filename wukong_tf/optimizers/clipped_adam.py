"""Adam whose global-norm clipping sees the gradient of the global batch."""

import keras


@keras.saving.register_keras_serializable("wukong_tf")
class ClippedAdam(keras.optimizers.Adam):
    """Adam; with `global_clipnorm`, clipping follows the all-reduce.

    Keras clips each replica's own gradient before it sums over replicas, so
    the result depends on how many there are. Here the sum is clipped, and N
    replicas take the step of one.

    Takes the arguments of `keras.optimizers.Adam`.
    """

    def _clip_gradients(self, grads):
        if keras.backend.backend() == "tensorflow":
            return grads  # clipped below, once they are summed
        return super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        reduced = super()._all_reduce_sum_gradients(grads_and_vars)
        variables = [variable for _, variable in reduced]
        grads = super()._clip_gradients([gradient for gradient, _ in reduced])
        return list(zip(grads, variables, strict=True))
