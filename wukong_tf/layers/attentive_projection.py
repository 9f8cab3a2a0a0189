"""The projection Y of Wukong's FM, made from the input."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.layers.linear_compress import LinearCompressBlock
from wukong_tf.layers.mlp import MLP


@keras.saving.register_keras_serializable("wukong_tf")
class AttentiveProjection(keras.layers.Layer):
    """Makes a Y of its own for each example.

    Y = reshape(MLP(LN(flatten(W X)))) in R^{n x k} with W in R^{m x n}: the
    input, linearly compressed, through an MLP (arXiv 2403.02545, section
    3.6). The paper gives neither sizes nor a norm. The defaults are this
    library's: the MLP's last layer has n * k outputs, so narrow hidden
    layers keep it small compared with the MLP of the FM block. The
    LayerNorm keeps Y's scale free of the embeddings' scale, of which
    X X^T Y would otherwise hold the third power.

    Args:
        rank: k, columns of Y; between 1 and n.
        attention_embeddings: m, rows that X is compressed to. Defaults to 8.
        attention_units: hidden units of the MLP. Defaults to (32,).
        dropout: rate after the MLP's hidden layers. Defaults to 0.
        epsilon: of the LayerNorm. Defaults to 1e-5.

    Input shape:
        [B, n, d], with n and d known.

    Output shape:
        [B, n, rank].

    Raises:
        ValueError: a size is below 1, `rank` is above n, `dropout` or
            `epsilon` is out of range, or the input is not [B, n, d].

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
        """Makes W, the norm and the MLP for inputs [B, n, d]."""
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
        """[B, n, d] to [B, n, rank]."""
        n, width = x.shape[1], x.shape[2]
        x = self.compress(x)  # [B, m, d]
        x = ops.reshape(
            x, (-1, self.attention_embeddings * width)
        )  # [B, m * d]
        x = self.mlp(self.norm(x), training=training)  # [B, n * k]
        return ops.reshape(x, (-1, n, self.rank))  # [B, n, k]

    def compute_output_shape(self, input_shape: Any):
        """[B, n, d] to [B, n, rank]."""
        return (input_shape[0], input_shape[1], self.rank)

    def get_config(self):
        """Every constructor argument."""
        return {
            **super().get_config(),
            "rank": self.rank,
            "attention_embeddings": self.attention_embeddings,
            "attention_units": self.attention_units,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
        }
