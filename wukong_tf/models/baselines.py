"""FM, MLP, DLRM and DCN-V2, with the interface of Wukong."""

from typing import Any

import keras
from keras import ops

from wukong_tf.config import FactorizationMachineConfig
from wukong_tf.layers import MLP
from wukong_tf.models.embedding_model import (
    EmbeddingModel,
    flatten,
    library,
    register,
)


@register
class _SmallVectors(keras.initializers.Initializer):
    """Uniform initializer in [-scale, scale]; 0 in each `width`th column."""

    def __init__(self, scale, width, seed=None):
        self.scale, self.width = scale, width
        self.seed = keras.initializers.RandomUniform(seed=seed).seed

    def __call__(self, shape, dtype=None):
        uniform = keras.initializers.RandomUniform(
            -self.scale, self.scale, self.seed
        )
        value = uniform(shape, dtype)
        is_vector = [(i + 1) % self.width != 0 for i in range(shape[-1])]
        return ops.where(ops.convert_to_tensor(is_vector), value, 0.0)

    def get_config(self):
        """Returns every constructor argument."""
        return {"scale": self.scale, "width": self.width, "seed": self.seed}


@register
class FactorizationMachine(EmbeddingModel):
    """A factorization machine of order 2 (Rendle, ICDM 2010).

    logit = w_0 + sum_i w_i + sum_{i < j} <v_i, v_j> over the rows (v_i, w_i) of
    X_0 [B, n, d + 1]: the last column holds the first-order weights, so one
    lookup reads both. Numeric features start like ids, with vectors in
    [-table_initial_scale, table_initial_scale] and a first-order weight of 0.

    Args:
        config: features and sizes.
        **kwargs: `lookup`, `name`, `dtype` and `host_tables` as
            `EmbeddingModel` takes them.
    """

    def __init__(self, config: FactorizationMachineConfig, **kwargs: Any):
        super().__init__(
            config,
            number_initializer=_SmallVectors(
                config.table_initial_scale, config.row_width
            ),
            **kwargs,
        )

    def build_score(self, rows: int, width: int):
        """Creates w_0 and, if there are several tasks, a scale for each."""
        del rows
        tasks = len(self.config.features.tasks)
        self.bias = self.add_weight(
            name="bias", shape=(tasks,), initializer="zeros", dtype="float32"
        )
        self.scale = None
        if tasks > 1:
            # All tasks share the vectors; each scales their entries.
            self.scale = self.add_weight(
                name="scale",
                shape=(tasks, width),
                initializer="ones",
                dtype="float32",
            )

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d + 1] to {task: logits [B, 1]}."""
        x = ops.cast(x, "float32")
        total = ops.sum(x, axis=1)  # [B, d + 1]
        # A slice of x itself would cost, by its gradient, a third of a step.
        squares = ops.sum(ops.square(x), axis=1)  # [B, d + 1]
        pairs = 0.5 * (ops.square(total) - squares)[:, :-1]  # [B, d]
        terms = ops.concatenate([pairs, total[:, -1:]], axis=1)  # [B, d + 1]
        logits = {}
        for index, task in enumerate(self.config.features.tasks):
            own = terms if self.scale is None else terms * self.scale[index]
            logit = ops.sum(own, axis=1, keepdims=True)  # [B, 1]
            logits[task.name] = logit + self.bias[index]
        return logits


@register
class MLPModel(EmbeddingModel):
    """logit = MLP(flatten(X_0)) for each task.

    Args:
        config: an MLPConfig.
        **kwargs: `lookup`, `name`, `dtype` and `host_tables` as
            `EmbeddingModel` takes them.
    """

    def build_score(self, rows: int, width: int):
        """Creates the MLPs."""
        self.heads = self.make_heads(rows * width, self.config.head_units)

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d] to {task: logits [B, 1]}."""
        return self.logits(self.heads, flatten(x), training)


@register
class DLRM(EmbeddingModel):
    """DLRM (Naumov et al., arXiv 1906.00091).

    logit = MLP(concat(rows of the numeric features, <x_i, x_j> for i < j)) for
    each task, over the rows x_i of X_0; keras-rs computes the dot products.

    Args:
        config: a DLRMConfig.
        **kwargs: `lookup`, `name`, `dtype` and `host_tables` as
            `EmbeddingModel` takes them.
    """

    def build_score(self, rows: int, width: int):
        """Creates the dot products and the top MLPs."""
        self.dots = library().layers.DotInteraction(
            dtype=self.dtype_policy, name="dots"
        )
        kinds = [
            kind
            for kind, _, _ in self.config.features.rows(
                self.config.numeric_embeddings
            )
        ]
        numbers = kinds.count("numeric")
        first = kinds.index("numeric") if numbers else 0
        self._numbers = (first, first + numbers)
        inputs = rows * (rows - 1) // 2 + numbers * width
        self.heads = self.make_heads(inputs, self.config.head_units)

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d] to {task: logits [B, 1]}."""
        x = ops.cast(x, self.compute_dtype)
        first, end = self._numbers
        parts = [flatten(x[:, first:end])] if first < end else []
        if x.shape[1] > 1:
            parts.append(self.dots(ops.unstack(x, axis=1)))
        x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
        return self.logits(self.heads, x, training)


@register
class DCNv2(EmbeddingModel):
    """DCN-V2 (Wang et al., arXiv 2008.13535).

    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l over x_0 = flatten(X_0), with
    keras-rs's layers, then a deep network on x_l ("stacked") or next to it, on
    x_0 ("parallel").

    Args:
        config: a DCNv2Config.
        **kwargs: `lookup`, `name`, `dtype` and `host_tables` as
            `EmbeddingModel` takes them.
    """

    def build_score(self, rows: int, width: int):
        """Creates the cross layers and the deep network."""
        config, size = self.config, rows * width
        self.cross_layers = [
            self._cross(index, size) for index in range(config.num_cross_layers)
        ]
        self.deep = None
        if config.structure == "stacked":
            self.heads = self.make_heads(size, config.head_units)
            return
        self.deep = MLP(
            config.head_units,
            dropout=config.dropout,
            output_initializer="he_normal",
            dtype=self.dtype_policy,
            name="deep",
        )
        self.deep.build((None, size))
        self.heads = self.make_heads(size + config.head_units[-1], ())

    def _cross(self, index, size):
        layer = library().layers.FeatureCross(
            projection_dim=self.config.projection_dim,
            dtype=self.dtype_policy,
            name=f"cross_{index}",
        )
        layer.build((None, size))
        # keras-rs creates these at the first call, under names numbered by
        # process; a checkpoint needs stable names.
        inner = size
        with keras.name_scope(layer.name):
            if self.config.projection_dim is not None:
                layer.down_proj_dense.name = "projection"
                layer.down_proj_dense.build((None, size))
                inner = self.config.projection_dim
            layer.dense.name = "dense"
            layer.dense.build((None, inner))
        return layer

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d] to {task: logits [B, 1]}."""
        first = ops.cast(flatten(x), self.compute_dtype)  # [B, n * d]
        x = first
        for layer in self.cross_layers:
            x = layer(first, x)  # [B, n * d]
        if self.deep is not None:
            deep = keras.activations.relu(self.deep(first, training=training))
            x = ops.concatenate([x, deep], axis=1)
        return self.logits(self.heads, x, training)
