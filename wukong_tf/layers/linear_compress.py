"""The Linear Compress Block of Wukong."""

from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments


@keras.saving.register_keras_serializable("wukong_tf")
class LinearCompressBlock(keras.layers.Layer):
    """Recombines embeddings linearly.

    LCB(X) = W X with W in R^{n_L x n} (arXiv 2403.02545, section 3.5): each
    output embedding is a weighted sum of the n input embeddings, so the
    orders of interaction of the input pass through unchanged. With a bias
    b in R^{n_L}, b_i is added to every number of output embedding i.

    Args:
        num_embeddings: n_L, number of embeddings out.
        kernel_initializer: of the kernel, stored as W^T [n, n_L] so that its
            fan-in is n. Defaults to "lecun_normal", which keeps the
            variance of the input.
        use_bias: whether there is a bias, initially 0. Defaults to False, as
            in the paper.

    Input shape:
        [B, n, d], with n and d known.

    Output shape:
        [B, num_embeddings, d].

    Raises:
        ValueError: `num_embeddings` is below 1, or the input is not
            [B, n, d].

    Example:
        >>> block = LinearCompressBlock(4)
        >>> block(keras.ops.ones((2, 27, 16))).shape
        (2, 4, 16)
    """

    def __init__(
        self,
        num_embeddings: int,
        *,
        kernel_initializer: Any = "lecun_normal",
        use_bias: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_embeddings = arguments.positive_int(
            "LinearCompressBlock", "num_embeddings", num_embeddings
        )
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.use_bias = use_bias

    def build(self, input_shape: Any):
        """Makes the weights for inputs [B, n, d]."""
        n, _ = arguments.embeddings_shape("LinearCompressBlock", input_shape)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(n, self.num_embeddings),
            initializer=arguments.copies(self.kernel_initializer),
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.num_embeddings,), initializer="zeros"
            )

    def call(self, x: Any):
        """[B, n, d] to [B, num_embeddings, d]."""
        x = ops.matmul(ops.transpose(self.kernel), x)  # [B, n_L, d]
        return x if self.bias is None else x + ops.expand_dims(self.bias, -1)

    def compute_output_shape(self, input_shape: Any):
        """[B, n, d] to [B, num_embeddings, d]."""
        return (input_shape[0], self.num_embeddings, input_shape[2])

    def get_config(self):
        """Every constructor argument."""
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "use_bias": self.use_bias,
        }
