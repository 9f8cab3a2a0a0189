"""What Keras's optimizers need to take the same step on any replicas."""

from typing import Any

import keras

from wukong_tf.embeddings import table_rows


class SummedFirst:
    """Mixin for Keras optimizers: clipping follows the all-reduce.

    Keras clips each replica's gradient before the all-reduce, so the result
    depends on the number of replicas. Here the sum is clipped, so that N
    replicas take the same step as one. List it before the optimizer among
    the bases.

    Attributes:
        gradients_are_summed: whether the gradients that `apply` gets are
            already summed over all replicas. False by default.
        by_rows: whether a variable's rows may be updated by several workers,
            as each number's update depends only on its own gradient. True by
            default.
        owned: the `wukong_tf.sharding.weights.OwnedWeights` of the variables
            that `build` will get, if each worker is to hold only the slots of
            the rows that it updates. None by default, all of them.
    """

    gradients_are_summed = False
    by_rows = True
    owned: Any = None

    def add_variable_from_reference(
        self,
        reference_variable: Any,
        name: str = "var",
        initializer: Any = "zeros",
    ):
        """Creates a slot, with the rows of this worker."""
        parent: Any = super()
        if self.owned is None:
            return parent.add_variable_from_reference(
                reference_variable, name, initializer
            )
        layout, shape = self.owned.layout(reference_variable), ()
        if layout is not None:
            shape = (layout.local_rows, *reference_variable.shape[1:])
        with table_rows.unmirrored():
            slot = parent.add_variable(
                shape=shape,
                initializer=initializer,
                dtype=reference_variable.dtype,
                name=f"{reference_variable.path.replace('/', '_')}_{name}",
            )
        if layout is not None:
            slot.shards = layout
        return slot

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ):
        """Updates variables, or a part of them that other workers then get."""
        parent: Any = super()
        if self.owned is None:
            parent._backend_update_step(
                grads, trainable_variables, learning_rate
            )
            return
        optimizer: Any = self
        pairs = list(zip(grads, trainable_variables, strict=True))
        for gradient, variable in self._all_reduce_sum_gradients(pairs):
            if part := self.owned.part(variable, gradient):
                value, gradient = part
                optimizer.update_step(gradient, value, learning_rate)
        self.owned.exchange(optimizer._trainable_variables)

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
