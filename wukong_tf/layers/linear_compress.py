"""The Linear Compress Block of Wukong."""

from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments


@keras.saving.register_keras_serializable("wukong_tf")
class LinearCompressBlock(keras.layers.Layer):
    """Linear compress block: recombines embeddings linearly.

    LCB(X) = W X with W in R^{n_L x n} (arXiv 2403.02545, section 3.5): each
    output embedding is a weighted sum of the n input embeddings, so the
    orders of interaction of the input pass through unchanged. With a bias
    b in R^{n_L}, b_i is added to every number of output embedding i.

    Args:
        num_embeddings: Integer, n_L, the number of output embeddings.
        kernel_initializer: Initializer of the kernel, which is stored as W^T of
            shape (n, n_L) so that its fan-in is n. Defaults to "lecun_normal",
            which keeps the variance of the input.
        use_bias: Boolean, whether to add a bias, initially 0. Defaults to
            False, as in the paper.

    Input shape:
        3D tensor with shape `(batch_size, n, dim)`; n and `dim` must be known.

    Output shape:
        3D tensor with shape `(batch_size, num_embeddings, dim)`.

    Raises:
        ValueError: `num_embeddings` is below 1, or the input is not 3D.

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
        """Creates the kernel and the bias."""
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
        """Maps `(batch, n, dim)` to `(batch, num_embeddings, dim)`."""
        x = ops.matmul(ops.transpose(self.kernel), x)  # [B, n_L, d]
        return x if self.bias is None else x + ops.expand_dims(self.bias, -1)

    def compute_output_shape(self, input_shape: Any):
        """Returns `(batch, num_embeddings, dim)`."""
        return (input_shape[0], self.num_embeddings, input_shape[2])

    def get_config(self):
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "use_bias": self.use_bias,
        }
