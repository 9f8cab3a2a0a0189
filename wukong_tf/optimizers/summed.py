"""What Keras's optimizers need to take the same step on any replicas."""

from typing import Any

import keras


class SummedFirst:
    """Mixin for Keras optimizers: clipping follows the all-reduce.

    Keras clips each replica's gradient before the all-reduce, so the result
    depends on the number of replicas. Here the sum is clipped, so that N
    replicas take the same step as one. List it before the optimizer among
    the bases.

    Attributes:
        gradients_are_summed: whether the gradients that `apply` gets are
            already summed over all replicas. False by default.
    """

    gradients_are_summed = False

    def _clip_gradients(self, grads: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            return grads  # clipped below, after the all-reduce
        return super()._clip_gradients(grads)  # type: ignore[misc]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        parent: Any = super()
        reduced = grads_and_vars
        if not self.gradients_are_summed:
            reduced = parent._all_reduce_sum_gradients(grads_and_vars)
        variables = [variable for _, variable in reduced]
        grads = parent._clip_gradients([gradient for gradient, _ in reduced])
        return list(zip(grads, variables, strict=True))

    def _apply_weight_decay(self, variables: Any):
        # Muon has its own, which assigns outside of a strategy's update.
        keras.optimizers.Optimizer._apply_weight_decay(self, variables)
