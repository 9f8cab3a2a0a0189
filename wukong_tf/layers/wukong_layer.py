"""One interaction layer of Wukong."""

from collections.abc import Sequence
from typing import Any

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
    embeddings stays the same, and a linear compression where it changes. If X
    holds interactions of orders 1 to m, Y holds orders 1 to 2m.

    Args:
        num_fmb: n_F, embeddings from the factorization machine block; they
            come first.
        num_lcb: n_L, embeddings from the linear compress block.
        rank: k of the factorization machine block.
        mlp_units: hidden units of the factorization machine block's MLP.
        fm: "projected", "full" or "attentive". Defaults to "projected".
        dropout: rate after the MLPs' hidden layers. Defaults to 0.
        epsilon: of the LayerNorms. Defaults to 1e-5.
        attention_embeddings: as FactorizationMachineBlock takes it. Defaults
            to 8.
        attention_units: as FactorizationMachineBlock takes it. Defaults to
            (32,).
        remove: parts to leave out, for ablations: "fmb" and "lcb" have no
            weights then and give zeros, "residual" is not added. "linear_path"
            removes both "lcb" and "residual", which are otherwise rejected
            together: without either, an embedding reaches the next layer only
            through an FM and an MLP. Defaults to ().
        fmb_activation: activation of the factorization machine block's
            output. Defaults to None.
        residual_bias: whether a residual that is a linear compression has a
            bias, which the norm takes out again. Defaults to False.

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
        attention_embeddings: int = 8,
        attention_units: Sequence[int] = (32,),
        remove: Sequence[str] = (),
        fmb_activation: Any = None,
        residual_bias: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        owner = "WukongLayer"
        self.num_fmb = arguments.positive_int(owner, "num_fmb", num_fmb)
        self.num_lcb = arguments.positive_int(owner, "num_lcb", num_lcb)
        self.fm, self.rank = arguments.interaction(owner, fm, rank)
        self.mlp_units = arguments.units(owner, "mlp_units", mlp_units)
        self.dropout = arguments.dropout_rate(owner, "dropout", dropout)
        self.epsilon = arguments.positive_float(owner, "epsilon", epsilon)
        self.attention_embeddings = arguments.positive_int(
            owner, "attention_embeddings", attention_embeddings
        )
        self.attention_units = arguments.units(
            owner, "attention_units", attention_units
        )
        self.remove = arguments.removed(owner, remove)
        self.fmb_activation = keras.activations.get(fmb_activation)
        self.residual_bias = residual_bias

    def build(self, input_shape: Any):
        """Makes the two blocks, the residual and the norm."""
        n, width = arguments.embeddings_shape("WukongLayer", input_shape)
        rows = self.num_fmb + self.num_lcb
        linear = "linear_path" not in self.remove
        self.fmb = self.lcb = self.residual = None
        if "fmb" not in self.remove:
            self.fmb = FactorizationMachineBlock(
                self.num_fmb,
                self.rank,
                self.mlp_units,
                self.fm,
                dropout=self.dropout,
                epsilon=self.epsilon,
                attention_embeddings=self.attention_embeddings,
                attention_units=self.attention_units,
                output_activation=self.fmb_activation,
                dtype=self.dtype_policy,
                name="fmb",
            )
            self.fmb.build(input_shape)
        if linear and "lcb" not in self.remove:
            self.lcb = LinearCompressBlock(
                self.num_lcb, dtype=self.dtype_policy, name="lcb"
            )
            self.lcb.build(input_shape)
        self.adds_input = linear and "residual" not in self.remove
        if self.adds_input and n != rows:
            self.residual = LinearCompressBlock(
                rows,
                use_bias=self.residual_bias,
                dtype=self.dtype_policy,
                name="residual",
            )
            self.residual.build(input_shape)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name="norm",
        )
        self.norm.build((input_shape[0], rows, width))

    def call(self, x: Any, training: bool | None = None):
        """[B, n, d] to [B, num_fmb + num_lcb, d]."""
        y = self._blocks(x, training)  # [B, n_F + n_L, d]
        if self.adds_input:
            y = y + (self.residual(x) if self.residual else x)
        return ops.cast(self.norm(y), self.compute_dtype)

    def _blocks(self, x, training):
        """Rows of the two blocks, zeros for one that was removed."""
        if self.lcb is None:
            if self.fmb is None:
                return 0.0
            fmb = self.fmb(x, training=training)  # [B, n_F, d]
            return ops.pad(fmb, ((0, 0), (0, self.num_lcb), (0, 0)))
        lcb = self.lcb(x)  # [B, n_L, d]
        if self.fmb is None:
            return ops.pad(lcb, ((0, 0), (self.num_fmb, 0), (0, 0)))
        fmb = self.fmb(x, training=training)  # [B, n_F, d]
        return ops.concatenate([fmb, lcb], axis=1)  # [B, n_F + n_L, d]

    def compute_output_shape(self, input_shape: Any):
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
            "attention_embeddings": self.attention_embeddings,
            "attention_units": self.attention_units,
            "remove": self.remove,
            "fmb_activation": keras.activations.serialize(self.fmb_activation),
            "residual_bias": self.residual_bias,
        }
