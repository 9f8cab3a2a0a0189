"""RankMixer, with the interface of Wukong."""

import math
from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.models.embedding_model import EmbeddingModel, flatten, register


@register
class PerTokenDense(keras.layers.Layer):
    """A dense layer with a kernel and a bias for each token.

    Input shape: `(batch_size, num_tokens, inputs)`.
    Output shape: `(batch_size, num_tokens, units)`.

    Args:
        units: numbers out, for each token.
        gain: variance of the outputs for inputs of unit variance. Defaults
            to 1.0.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    def __init__(self, units: int, gain: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.gain = gain

    def build(self, input_shape: Any):
        """Creates the kernels `(num_tokens, inputs, units)` and biases."""
        _, tokens, inputs = input_shape
        self.kernel = self.add_weight(
            name="kernel",
            shape=(tokens, inputs, self.units),
            initializer=keras.initializers.RandomNormal(
                stddev=math.sqrt(self.gain / inputs)
            ),
        )
        self.bias = self.add_weight(
            name="bias", shape=(tokens, self.units), initializer="zeros"
        )

    def call(self, x: Any) -> Any:
        """Returns x_t W_t + b_t of each token t."""
        # As T products of matrices, which every export format has.
        product = ops.matmul(ops.transpose(x, (1, 0, 2)), self.kernel)
        return ops.transpose(product, (1, 0, 2)) + self.bias

    def get_config(self) -> dict[str, Any]:
        """Returns every constructor argument."""
        return {**super().get_config(), "units": self.units, "gain": self.gain}


@register
class RankMixerBlock(keras.layers.Layer):
    """Token mixing and per-token MLPs (arXiv 2507.15551, eqs. 3 to 8).

        S = LayerNorm(mix(X) + X),
        X' = LayerNorm(W_2t GELU(W_1t s_t + b_1t) + b_2t + s_t),

    where token t of mix(X) holds the t-th of T equal parts of every token.

    Input and output shape: `(batch_size, num_tokens, token_dim)`.

    Args:
        expansion: hidden units of a token's MLP, in widths of a token.
        epsilon: positive float, the epsilon of the LayerNorms. Defaults to
            1e-5.
        **kwargs: arguments of `keras.layers.Layer`.

    Raises:
        ValueError: `epsilon` is not a finite number above 0.
    """

    def __init__(self, expansion: int, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.expansion = expansion
        self.epsilon = arguments.positive_float(
            "RankMixerBlock", "epsilon", epsilon
        )

    def build(self, input_shape: Any):
        """Creates the norms and the MLPs."""
        _, _, width = input_shape
        inner = (*input_shape[:2], self.expansion * width)
        self.mixed_norm = self._norm("mixed_norm", input_shape)
        self.norm = self._norm("norm", input_shape)
        self.hidden = PerTokenDense(
            inner[-1], gain=2.0, dtype=self.dtype_policy, name="hidden"
        )
        self.hidden.build(input_shape)
        self.out = PerTokenDense(width, dtype=self.dtype_policy, name="out")
        self.out.build(inner)

    def _norm(self, name, input_shape):
        layer = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name=name,
        )
        layer.build(input_shape)
        return layer

    def call(self, x: Any) -> Any:
        """Maps tokens to tokens."""
        tokens, width = x.shape[1:]
        parts = ops.reshape(x, (-1, tokens, tokens, width // tokens))
        mixed = ops.transpose(parts, (0, 2, 1, 3))  # [B, part, token, D / T]
        x = x + ops.reshape(mixed, (-1, tokens, width))
        x = ops.cast(self.mixed_norm(x), self.compute_dtype)
        hidden = _gelu(self.hidden(x))
        return ops.cast(self.norm(x + self.out(hidden)), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns every constructor argument."""
        return {
            **super().get_config(),
            "expansion": self.expansion,
            "epsilon": self.epsilon,
        }


@register
class RankMixer(EmbeddingModel):
    """RankMixer (Zhu et al., arXiv 2507.15551), without experts.

    The flattened embeddings, padded with zeros, are cut into T equal parts,
    each mapped to a token; blocks follow, and an MLP for each task on the
    mean of the tokens. The paper groups features by meaning before it cuts:
    order the features of the spec so.

    Args:
        config: a RankMixerConfig.
        **kwargs: `lookup`, `name`, `dtype` and `host_tables` as
            `EmbeddingModel` takes them.
    """

    def build_score(self, rows: int, width: int):
        """Creates the tokens, the blocks and the heads."""
        config = self.config
        self._padding = config.num_tokens * config.chunk - rows * width
        self.tokens = PerTokenDense(
            config.token_dim, dtype=self.dtype_policy, name="tokens"
        )
        self.tokens.build((None, config.num_tokens, config.chunk))
        self.blocks = [
            RankMixerBlock(
                config.expansion,
                config.norm_epsilon,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(config.num_layers)
        ]
        for block in self.blocks:
            block.build((None, config.num_tokens, config.token_dim))
        self.heads = self.make_heads(config.token_dim, config.head_units)

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d] to {task: logits [B, 1]}."""
        config = self.config
        x = ops.cast(flatten(x), self.compute_dtype)
        if self._padding:
            x = ops.pad(x, ((0, 0), (0, self._padding)))
        x = ops.reshape(x, (-1, config.num_tokens, config.chunk))
        x = self.tokens(x)
        for block in self.blocks:
            x = block(x)
        return self.logits(self.heads, ops.mean(x, axis=1), training)


def _gelu(x):
    """Returns GELU by erf, for which ONNX has an operator."""
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))
