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
    """Interaction layer of Wukong: two parallel blocks, a residual and a norm.

    Y = LN(concat(FMB(X), LCB(X)) + R(X)) (arXiv 2403.02545, section 3.3),
    normalized over `dim`. R is the identity if the number of embeddings stays
    the same, and a linear compression otherwise. If X holds interactions of
    orders 1 to m, Y holds orders 1 to 2m.

    Args:
        num_fmb: Integer, n_F, the number of embeddings from the factorization
            machine block; they come first.
        num_lcb: Integer, n_L, the number of embeddings from the linear compress
            block.
        rank: Integer, k of the factorization machine block.
        mlp_units: Sequence of integers, the hidden units of the factorization
            machine block's MLP.
        fm: "projected", "full" or "attentive". Defaults to "projected".
        dropout: Float in [0, 1), the dropout rate after the MLPs' hidden
            layers. Defaults to 0.
        epsilon: Positive float, the epsilon of the LayerNorms. Defaults to
            1e-5.
        attention_embeddings: See `FactorizationMachineBlock`. Defaults to 8.
        attention_units: See `FactorizationMachineBlock`. Defaults to (32,).
        remove: Sequence of the parts to remove, for ablations. "fmb" and "lcb"
            have no weights then and output zeros; "residual" is not added.
            "linear_path" removes "lcb" and "residual", which may not be named
            together: without them, an embedding reaches the next layer only
            through an FM and an MLP. Defaults to ().
        fmb_activation: Activation of the factorization machine block's output.
            Defaults to None.
        residual_bias: Boolean, whether a residual that is a linear compression
            has a bias, which the norm removes again. Defaults to False.
        mlp_activation: See `FactorizationMachineBlock`. Defaults to "relu".
        mlp_bias: See `FactorizationMachineBlock`. Defaults to True.
        mlp_glu: See `FactorizationMachineBlock`. Defaults to False.

    Input shape:
        3D tensor with shape `(batch_size, n, dim)`; n and `dim` must be known.

    Output shape:
        3D tensor with shape `(batch_size, num_fmb + num_lcb, dim)`.

    Raises:
        ValueError: an argument or the input breaks a rule of the blocks, or
            `remove` has unknown names, all parts or the linear path's two.

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
        mlp_activation: Any = "relu",
        mlp_bias: bool = True,
        mlp_glu: bool = False,
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
        self.mlp_activation = keras.activations.get(mlp_activation)
        self.mlp_bias, self.mlp_glu = mlp_bias, mlp_glu

    def build(self, input_shape: Any):
        """Creates the two blocks, the residual and the norm."""
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
                mlp_activation=self.mlp_activation,
                mlp_bias=self.mlp_bias,
                mlp_glu=self.mlp_glu,
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
        """Maps `(batch, n, dim)` to `(batch, num_fmb + num_lcb, dim)`."""
        y = self._blocks(x, training)  # [B, n_F + n_L, d]
        if self.adds_input:
            y = y + (self.residual(x) if self.residual else x)
        return ops.cast(self.norm(y), self.compute_dtype)

    def _blocks(self, x, training):
        """Returns the embeddings of the two blocks, zeros for a removed one."""
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
        """Returns `(batch, num_fmb + num_lcb, dim)`."""
        return (input_shape[0], self.num_fmb + self.num_lcb, input_shape[2])

    def get_config(self):
        """Returns the constructor arguments."""
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
            "mlp_activation": keras.activations.serialize(self.mlp_activation),
            "mlp_bias": self.mlp_bias,
            "mlp_glu": self.mlp_glu,
        }
