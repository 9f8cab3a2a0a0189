"""Wukong's stack of interaction layers."""

import functools
from collections.abc import Sequence
from typing import Any

import keras

from wukong_tf.layers import arguments
from wukong_tf.layers.wukong_layer import WukongLayer


@keras.saving.register_keras_serializable("wukong_tf")
class InteractionStack(keras.layers.Layer):
    """`num_layers` WukongLayers, one after the other.

    After layer i the embeddings hold interactions of orders 1 to 2^i
    (arXiv 2403.02545, section 3.3).

    Args:
        num_layers: l, number of layers.
        num_fmb: n_F of every layer, or one for each layer.
        num_lcb: n_L of every layer, or one for each layer.
        rank: k of every layer, or one for each layer.
        mlp_units: hidden units of every layer's MLP, or a sequence of them
            for each layer.
        fm: "projected", "full" or "attentive". Defaults to "projected".
        dropout: rate after the MLPs' hidden layers. Defaults to 0.
        epsilon: of the LayerNorms. Defaults to 1e-5.
        attention_embeddings: as FactorizationMachineBlock takes it. Defaults
            to 8.
        attention_units: as FactorizationMachineBlock takes it. Defaults to
            (32,).
        remove: parts to leave out of every layer, as WukongLayer takes it.
            Defaults to ().
        fmb_activation: as WukongLayer takes it. Defaults to None.
        residual_bias: as WukongLayer takes it. Defaults to False.
        remat: whether to store only each layer's input in training and
            recompute the layer in the backward pass, which takes less memory
            and a third more time. Needs dropout=0: a recomputed layer would
            draw another mask. Defaults to False.

    Input shape:
        [B, n, d], with n and d known.

    Output shape:
        [B, n_F + n_L of the last layer, d].

    Raises:
        ValueError: a sequence's length is not `num_layers`, `remat` comes
            with dropout, and as WukongLayer does.

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
        self.residual_bias = residual_bias
        self.remat = remat
        if remat and self.dropout:
            raise ValueError(
                f"{owner}: `dropout` must be 0 with `remat`, as a recomputed "
                f"layer would draw another mask; received {self.dropout}."
            )
        self._sizes = list(
            zip(
                self._for_each_layer("num_fmb", self.num_fmb),
                self._for_each_layer("num_lcb", self.num_lcb),
                self._for_each_layer("rank", self.rank),
                self._for_each_layer("mlp_units", self.mlp_units, nested=True),
                strict=True,
            )
        )
        for fmb, lcb, columns, units in self._sizes:
            arguments.positive_int(owner, "num_fmb", fmb)
            arguments.positive_int(owner, "num_lcb", lcb)
            arguments.interaction(owner, fm, columns)
            arguments.units(owner, "mlp_units", units)

    def _for_each_layer(self, name, value, nested=False):
        """`value` as a list with one entry a layer."""
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
        """Makes the layers for inputs [B, n, d]."""
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
                dtype=self.dtype_policy,
                name=f"layer_{index}",
            )
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
            self.layers.append(layer)

    def call(self, x: Any, training: bool | None = None):
        """[B, n, d] to [B, rows of the last layer, d]."""
        for layer in self.layers:
            if self.remat and training is not False:
                call = functools.partial(layer, training=training)
                x = keras.remat(call)(x)  # [B, n_F + n_L, d]
            else:
                x = layer(x, training=training)  # [B, n_F + n_L, d]
        return x

    def compute_output_shape(self, input_shape: Any):
        """[B, n, d] to [B, rows of the last layer, d]."""
        num_fmb, num_lcb, _, _ = self._sizes[-1]
        return (input_shape[0], num_fmb + num_lcb, input_shape[2])

    def get_config(self):
        """Every constructor argument."""
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
            "remat": self.remat,
        }
