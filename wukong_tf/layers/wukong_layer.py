"""One interaction layer of Wukong."""

from collections.abc import Sequence

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.layers.factorization_machine import FactorizationMachineBlock
from wukong_tf.layers.linear_compress import LinearCompressBlock


@keras.saving.register_keras_serializable("wukong_tf")
class WukongLayer(keras.layers.Layer):
    """FMB and LCB side by side, a residual and a LayerNorm.

    Y = LN(concat(FMB(X), LCB(X)) + R(X)) (arXiv 2403.02545, section 3.3),
    normalized over the width d. R is the identity where the number of
    embeddings stays the same, and a linear compression without a bias where
    it changes. If X holds interactions of orders 1 to m, Y holds orders 1
    to 2m.

    Args:
        num_fmb: n_F, embeddings from the factorization machine block; they
            come first.
        num_lcb: n_L, embeddings from the linear compress block.
        rank: k of the factorization machine block.
        mlp_units: hidden units of the factorization machine block's MLP.
        fm: "projected" or "full". Defaults to "projected".
        dropout: rate after the MLP's hidden layers. Defaults to 0.
        epsilon: of both LayerNorms. Defaults to 1e-5.

    Input shape:
        [B, n, d], with n and d known.

    Output shape:
        [B, num_fmb + num_lcb, d].

    Raises:
        ValueError: as its blocks do.

    Example:
        >>> layer = WukongLayer(8, 8, rank=8, mlp_units=(64,))
        >>> layer(keras.ops.ones((2, 27, 16))).shape
        (2, 16, 16)
    """

    def __init__(
        self,
        num_fmb: int,
        num_lcb: int,
        rank: int | None,
        mlp_units: Sequence[int],
        fm: str = "projected",
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        owner = "WukongLayer"
        self.num_fmb = arguments.positive_int(owner, "num_fmb", num_fmb)
        self.num_lcb = arguments.positive_int(owner, "num_lcb", num_lcb)
        self.fm, self.rank = arguments.interaction(owner, fm, rank)
        self.mlp_units = arguments.units(owner, "mlp_units", mlp_units)
        self.dropout = arguments.dropout_rate(owner, "dropout", dropout)
        self.epsilon = arguments.positive_float(owner, "epsilon", epsilon)

    def build(self, input_shape):
        """Makes the two blocks, the residual and the norm."""
        n, width = arguments.embeddings_shape("WukongLayer", input_shape)
        rows = self.num_fmb + self.num_lcb
        self.fmb = FactorizationMachineBlock(
            self.num_fmb,
            self.rank,
            self.mlp_units,
            self.fm,
            dropout=self.dropout,
            epsilon=self.epsilon,
            dtype=self.dtype_policy,
            name="fmb",
        )
        self.lcb = LinearCompressBlock(
            self.num_lcb, dtype=self.dtype_policy, name="lcb"
        )
        self.residual = None
        if n != rows:
            self.residual = LinearCompressBlock(
                rows, dtype=self.dtype_policy, name="residual"
            )
            self.residual.build(input_shape)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name="norm",
        )
        self.fmb.build(input_shape)
        self.lcb.build(input_shape)
        self.norm.build((input_shape[0], rows, width))

    def call(self, x, training=None):
        """[B, n, d] to [B, num_fmb + num_lcb, d]."""
        blocks = [self.fmb(x, training=training), self.lcb(x)]
        residual = self.residual(x) if self.residual else x
        x = ops.concatenate(blocks, axis=1) + residual  # [B, n_F + n_L, d]
        return ops.cast(self.norm(x), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """[B, n, d] to [B, num_fmb + num_lcb, d]."""
        return (input_shape[0], self.num_fmb + self.num_lcb, input_shape[2])

    def get_config(self):
        """Every constructor argument."""
        return {
            **super().get_config(),
            "num_fmb": self.num_fmb,
            "num_lcb": self.num_lcb,
            "rank": self.rank,
            "mlp_units": self.mlp_units,
            "fm": self.fm,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
        }
