"""A multilayer perceptron: activations inside, none on its output."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments


@keras.saving.register_keras_serializable("wukong_tf")
class MLP(keras.layers.Layer):
    """Dense layers with an activation after all but the last.

    h_0 = x, h_j = activation(h_{j-1} W_j + b_j), output = h_{m-1} W_m + b_m.
    With `glu`, h_j = activation(h_{j-1} W_j + b_j) * (h_{j-1} V_j + c_j).
    The output has no activation, and no layer has batch normalization.

    Args:
        units: Sequence of integers, the units of the dense layers; the last is
            the size of the output.
        activation: Activation after every layer but the last. Defaults to
            "relu", which the paper uses for all models (arXiv 2403.02545,
            appendix A).
        dropout: Float in [0, 1), the dropout rate after every activation.
            Defaults to 0.
        kernel_initializer: Initializer of the kernels of all layers but the
            last. Defaults to "he_normal".
        output_initializer: Initializer of the last layer's kernel. Defaults to
            "lecun_normal".
        use_bias: Boolean, whether the layers have a bias. Defaults to True.
        glu: Boolean, whether the hidden layers are gated linear units
            (arXiv 2002.05202): GLU with activation="sigmoid", ReGLU with
            "relu", SwiGLU with "silu", GEGLU with "gelu". The kernel of a layer
            is [W_j, V_j], of twice as many columns. Defaults to False.

    Input shape:
        N-D tensor with shape `(batch_size, ..., input_dim)`; `input_dim` must
        be known.

    Output shape:
        N-D tensor with shape `(batch_size, ..., units[-1])`.

    Raises:
        ValueError: `units` is empty or not a sequence of positive integers,
            `dropout` is outside [0, 1), or `input_dim` is unknown.

    Example:
        >>> mlp = MLP((64, 32))
        >>> mlp(keras.ops.ones((2, 10))).shape
        (2, 32)
    """

    def __init__(
        self,
        units: Sequence[int],
        *,
        activation: Any = "relu",
        dropout: float = 0.0,
        kernel_initializer: Any = "he_normal",
        output_initializer: Any = "lecun_normal",
        use_bias: bool = True,
        glu: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.units = arguments.units("MLP", "units", units)
        if not self.units:
            raise ValueError("MLP: `units` must not be empty; received ().")
        self.activation = keras.activations.get(activation)
        self.dropout = arguments.dropout_rate("MLP", "dropout", dropout)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.use_bias, self.glu = use_bias, glu

    def build(self, input_shape: Any):
        """Creates the dense layers."""
        if not input_shape or input_shape[-1] is None:
            raise ValueError(
                "MLP: the last dimension of the input must be known; received "
                f"shape {input_shape}."
            )
        self.dense_layers = []
        self.dropout_layers = []
        shape = tuple(input_shape)
        last = len(self.units) - 1
        for index, units in enumerate(self.units):
            initializer = (
                self.output_initializer
                if index == last
                else self.kernel_initializer
            )
            gated = self.glu and index != last
            dense = keras.layers.Dense(
                2 * units if gated else units,
                activation=(
                    None if gated or index == last else self.activation
                ),
                use_bias=self.use_bias,
                kernel_initializer=arguments.copies(initializer),
                dtype=self.dtype_policy,
                name=f"dense_{index}",
            )
            dense.build(shape)
            self.dense_layers.append(dense)
            shape = (*shape[:-1], units)
            if self.dropout and index != last:
                self.dropout_layers.append(
                    keras.layers.Dropout(
                        self.dropout,
                        dtype=self.dtype_policy,
                        name=f"dropout_{index}",
                    )
                )

    def call(self, x: Any, training: bool | None = None):
        """Maps `(..., input_dim)` to `(..., units[-1])`."""
        for index, dense in enumerate(self.dense_layers):
            x = dense(x)  # [..., units[index]], or twice as many if gated
            if self.glu and index < len(self.units) - 1:
                x, linear = ops.split(x, 2, axis=-1)
                x = self.activation(x) * linear  # [..., units[index]]
            if index < len(self.dropout_layers):
                x = self.dropout_layers[index](x, training=training)
        return x

    def compute_output_shape(self, input_shape: Any):
        """Returns `(..., units[-1])`."""
        return (*input_shape[:-1], self.units[-1])

    def get_config(self):
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "output_initializer": keras.initializers.serialize(
                self.output_initializer
            ),
            "use_bias": self.use_bias,
            "glu": self.glu,
        }
