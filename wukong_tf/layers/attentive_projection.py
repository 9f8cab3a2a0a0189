"""The projection Y of Wukong's FM, computed from the input."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.layers.linear_compress import LinearCompressBlock
from wukong_tf.layers.mlp import MLP


@keras.saving.register_keras_serializable("wukong_tf")
class AttentiveProjection(keras.layers.Layer):
    """Computes the projection Y of an FM from the input, for each example.

    Y = reshape(MLP(LN(flatten(W X)))) in R^{n x k} with W in R^{m x n}: the
    input is compressed linearly and mapped by an MLP (arXiv 2403.02545, section
    3.6). The paper gives neither sizes nor a norm; the defaults are this
    library's. The MLP's last layer has n * k outputs, so narrow hidden layers
    keep it small compared with the MLP of the FM block. Without the LayerNorm,
    X X^T Y would grow with the third power of the embeddings' scale.

    Args:
        rank: Integer, k, the number of columns of Y; at most n.
        attention_embeddings: Integer, m, the number of embeddings that X is
            compressed to. Defaults to 8.
        attention_units: Sequence of integers, the hidden units of the MLP.
            Defaults to (32,).
        dropout: Float in [0, 1), the dropout rate after the MLP's hidden
            layers. Defaults to 0.
        epsilon: Positive float, the epsilon of the LayerNorm. Defaults to 1e-5.

    Input shape:
        3D tensor with shape `(batch_size, n, dim)`; n and `dim` must be known.

    Output shape:
        3D tensor with shape `(batch_size, n, rank)`.

    Raises:
        ValueError: a size is below 1, `rank` is above n, `dropout` or `epsilon`
            is out of range, or the input is not 3D.

    Example:
        >>> projection = AttentiveProjection(8)
        >>> projection(keras.ops.ones((2, 27, 16))).shape
        (2, 27, 8)
    """

    def __init__(
        self,
        rank: int,
        attention_embeddings: int = 8,
        attention_units: Sequence[int] = (32,),
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        owner = "AttentiveProjection"
        self.rank = arguments.positive_int(owner, "rank", rank)
        self.attention_embeddings = arguments.positive_int(
            owner, "attention_embeddings", attention_embeddings
        )
        self.attention_units = arguments.units(
            owner, "attention_units", attention_units
        )
        self.dropout = arguments.dropout_rate(owner, "dropout", dropout)
        self.epsilon = arguments.positive_float(owner, "epsilon", epsilon)

    def build(self, input_shape: Any):
        """Creates W, the norm and the MLP."""
        owner = "AttentiveProjection"
        n, width = arguments.embeddings_shape(owner, input_shape)
        arguments.check_rank(owner, self.rank, n)
        self.compress = LinearCompressBlock(
            self.attention_embeddings, dtype=self.dtype_policy, name="compress"
        )
        self.compress.build(input_shape)
        flat_shape = (input_shape[0], self.attention_embeddings * width)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name="norm",
        )
        self.norm.build(flat_shape)
        self.mlp = MLP(
            (*self.attention_units, n * self.rank),
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name="mlp",
        )
        self.mlp.build(flat_shape)

    def call(self, x: Any, training: bool | None = None):
        """Maps `(batch, n, dim)` to `(batch, n, rank)`."""
        n, width = x.shape[1], x.shape[2]
        x = self.compress(x)  # [B, m, d]
        x = ops.reshape(
            x, (-1, self.attention_embeddings * width)
        )  # [B, m * d]
        x = self.mlp(self.norm(x), training=training)  # [B, n * k]
        return ops.reshape(x, (-1, n, self.rank))  # [B, n, k]

    def compute_output_shape(self, input_shape: Any):
        """Returns `(batch, n, rank)`."""
        return (input_shape[0], input_shape[1], self.rank)

    def get_config(self):
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "rank": self.rank,
            "attention_embeddings": self.attention_embeddings,
            "attention_units": self.attention_units,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
        }
