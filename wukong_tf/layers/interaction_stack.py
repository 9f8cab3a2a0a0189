"""Wukong's stack of interaction layers."""

import functools
from collections.abc import Sequence
from typing import Any

import keras

from wukong_tf.layers import arguments
from wukong_tf.layers.wukong_layer import WukongLayer


@keras.saving.register_keras_serializable("wukong_tf")
class InteractionStack(keras.layers.Layer):
    """Stack of `num_layers` WukongLayers.

    After layer i the embeddings hold interactions of orders 1 to 2^i
    (arXiv 2403.02545, section 3.3).

    Args:
        num_layers: Integer, l, the number of layers.
        num_fmb: Integer, n_F of every layer, or a sequence with one per layer.
        num_lcb: Integer, n_L of every layer, or a sequence with one per layer.
        rank: Integer, k of every layer, or a sequence with one per layer.
        mlp_units: Sequence of integers, the hidden units of every layer's MLP,
            or a sequence with one such sequence per layer.
        fm: "projected", "full" or "attentive". Defaults to "projected".
        dropout: Float in [0, 1), the dropout rate after the MLPs' hidden
            layers. Defaults to 0.
        epsilon: Positive float, the epsilon of the LayerNorms. Defaults to
            1e-5.
        attention_embeddings: See `FactorizationMachineBlock`. Defaults to 8.
        attention_units: See `FactorizationMachineBlock`. Defaults to (32,).
        remove: Sequence of the parts to remove from every layer; see
            `WukongLayer`. Defaults to ().
        fmb_activation: See `WukongLayer`. Defaults to None.
        residual_bias: See `WukongLayer`. Defaults to False.
        mlp_activation: See `FactorizationMachineBlock`. Defaults to "relu".
        mlp_bias: See `FactorizationMachineBlock`. Defaults to True.
        mlp_glu: See `FactorizationMachineBlock`. Defaults to False.
        remat: Boolean, whether to store only the input of each layer in
            training and recompute the layer in the backward pass, which takes
            less memory and a third more time. Requires dropout=0, as a
            recomputed layer would draw another mask. Defaults to False.

    Input shape:
        3D tensor with shape `(batch_size, n, dim)`; n and `dim` must be known.

    Output shape:
        3D tensor with shape `(batch_size, num_fmb + num_lcb, dim)`, with the
        sizes of the last layer.

    Raises:
        ValueError: the length of a sequence is not `num_layers`, `remat` is set
            with dropout, or an argument or the input breaks a rule of
            `WukongLayer`.

    Example:
        >>> stack = InteractionStack(3, 8, 8, rank=8, mlp_units=(64,))
        >>> stack(keras.ops.ones((2, 27, 16))).shape
        (2, 16, 16)
    """

    def __init__(
        self,
        num_layers: int,
        num_fmb: int | Sequence[int],
        num_lcb: int | Sequence[int],
        rank: int | Sequence[int] | None,
        mlp_units: Sequence[int] | Sequence[Sequence[int]],
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
        remat: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        owner = "InteractionStack"
        self.num_layers = arguments.positive_int(
            owner, "num_layers", num_layers
        )
        # Tuples, so that a caller's list can change without the layer.
        self.num_fmb = arguments.frozen(num_fmb)
        self.num_lcb = arguments.frozen(num_lcb)
        self.rank = arguments.frozen(rank)
        self.mlp_units = arguments.frozen(mlp_units)
        self.fm = fm
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
        self.mlp_activation = keras.activations.get(mlp_activation)
        self.mlp_bias, self.mlp_glu = mlp_bias, mlp_glu
        self.residual_bias, self.remat = residual_bias, remat
        if remat and self.dropout:
            raise ValueError(
                f"{owner}: `dropout` must be 0 with `remat`, as a recomputed "
                f"layer would draw another mask; received {self.dropout}."
            )
        self._sizes = self._sizes_of_layers()

    def _sizes_of_layers(self):
        """Returns num_fmb, num_lcb, rank and mlp_units of each layer."""
        owner = "InteractionStack"
        sizes = list(
            zip(
                self._for_each_layer("num_fmb", self.num_fmb),
                self._for_each_layer("num_lcb", self.num_lcb),
                self._for_each_layer("rank", self.rank),
                self._for_each_layer("mlp_units", self.mlp_units, nested=True),
                strict=True,
            )
        )
        for fmb, lcb, columns, units in sizes:
            arguments.positive_int(owner, "num_fmb", fmb)
            arguments.positive_int(owner, "num_lcb", lcb)
            arguments.interaction(owner, self.fm, columns)
            arguments.units(owner, "mlp_units", units)
        return sizes

    def _for_each_layer(self, name, value, nested=False):
        """Returns `value` as a list with one entry per layer."""
        sequence = isinstance(value, tuple)
        if nested and sequence:
            sequence = any(isinstance(item, tuple) for item in value)
        if not sequence:
            return [value] * self.num_layers
        if len(value) != self.num_layers:
            raise ValueError(
                f"InteractionStack: `{name}` must be one value or one for "
                f"each of the {self.num_layers} layers; received "
                f"{name}={value!r}."
            )
        return list(value)

    def build(self, input_shape: Any):
        """Creates the layers."""
        arguments.embeddings_shape("InteractionStack", input_shape)
        self.layers: list[Any] = []
        shape = tuple(input_shape)
        for index, (num_fmb, num_lcb, rank, units) in enumerate(self._sizes):
            layer = WukongLayer(
                num_fmb,
                num_lcb,
                rank,
                units,
                self.fm,
                dropout=self.dropout,
                epsilon=self.epsilon,
                attention_embeddings=self.attention_embeddings,
                attention_units=self.attention_units,
                remove=self.remove,
                fmb_activation=self.fmb_activation,
                residual_bias=self.residual_bias,
                mlp_activation=self.mlp_activation,
                mlp_bias=self.mlp_bias,
                mlp_glu=self.mlp_glu,
                dtype=self.dtype_policy,
                name=f"layer_{index}",
            )
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
            self.layers.append(layer)

    def call(self, x: Any, training: bool | None = None):
        """Maps `(batch, n, dim)` to `(batch, num_fmb + num_lcb, dim)`."""
        for output in self._outputs(x, training):
            x = output  # [B, n_F + n_L, d]
        return x

    def layer_outputs(self, x: Any, training: bool | None = None) -> list[Any]:
        """Returns the output of each layer; the last is that of `call`.

        Args:
            x: embeddings, `(batch, n, dim)`.
            training: whether to apply dropout. Defaults to None, as in `call`.

        Returns:
            One tensor per layer, `(batch, num_fmb + num_lcb, dim)`.
        """
        if not self.built:
            self.build(tuple(x.shape))
        return list(self._outputs(x, training))

    def _outputs(self, x, training):
        """Yields the output of each layer, and keeps none."""
        for layer in self.layers:
            if self.remat and training is not False:
                call = functools.partial(layer, training=training)
                x = keras.remat(call)(x)  # [B, n_F + n_L, d]
            else:
                x = layer(x, training=training)  # [B, n_F + n_L, d]
            yield x

    def compute_output_shape(self, input_shape: Any):
        """Returns `(batch, num_fmb + num_lcb, dim)` of the last layer."""
        num_fmb, num_lcb, _, _ = self._sizes[-1]
        return (input_shape[0], num_fmb + num_lcb, input_shape[2])

    def get_config(self):
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
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
            "remat": self.remat,
        }
