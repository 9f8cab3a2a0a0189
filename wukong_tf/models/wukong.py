"""Wukong, from features to logits."""

from collections.abc import Collection
from typing import Any

from wukong_tf.config import WukongConfig
from wukong_tf.layers import InteractionStack
from wukong_tf.models.embedding_model import EmbeddingModel, flatten, register


@register
class Wukong(EmbeddingModel):
    """Wukong (arXiv 2403.02545): embeddings, stacked interactions, an MLP.

    logit = MLP(flatten(InteractionStack(X_0))) for each task, with X_0 the
    embeddings of the features, [B, n, d].

    Args:
        config: features and sizes.
        lookup: "take" reads tables with keras.ops.take on any backend; "tfrs"
            reads them with TensorFlow Recommenders, as the trainer does. The
            weights are the same. Defaults to "take".
        remat: whether training recomputes interaction layers in the backward
            pass instead of storing their activations; see `InteractionStack`.
            Defaults to False.
        name: model name. Defaults to "wukong".
        dtype: Keras dtype policy of the dense part, such as "float32" or
            "mixed_bfloat16". Defaults to Keras's global policy.
        host_tables: names of the tables kept in host memory while the rest is
            on an accelerator. Defaults to (), none.
        sharded_tables: names of the tables whose rows are sharded over the
            workers of a run. Defaults to (), none.

    Raises:
        ConfigError: a rank is above the number of embeddings that enter its
            layer.

    Example:
        >>> spec = FeatureSpec(
        ...     categorical=(
        ...         CategoricalFeature("user", 1000),
        ...         CategoricalFeature("item", 500),
        ...     ),
        ...     numeric=(NumericFeature("price", "log1p"),),
        ... )
        >>> model = Wukong(WukongConfig(spec))
        >>> model({
        ...     "user": keras.ops.array([3, 5]),
        ...     "item": keras.ops.array([1, 2]),
        ...     "price": keras.ops.array([0.5, 1.5]),
        ... })["click"].shape
        (2, 1)
    """

    def __init__(
        self,
        config: WukongConfig,
        *,
        lookup: str = "take",
        remat: bool = False,
        name: str | None = None,
        dtype: Any = None,
        host_tables: Collection[str] = (),
        sharded_tables: Collection[str] = (),
    ):
        config.check_ranks()
        self._remat = remat
        super().__init__(
            config,
            lookup=lookup,
            name=name,
            dtype=dtype,
            host_tables=host_tables,
            sharded_tables=sharded_tables,
        )

    def build_score(self, rows: int, width: int):
        """Creates the stack and the heads."""
        config: WukongConfig = self.config
        self.stack = InteractionStack(
            config.num_layers,
            config.num_fmb,
            config.num_lcb,
            config.rank,
            config.mlp_units,
            config.fm,
            dropout=config.dropout,
            epsilon=config.norm_epsilon,
            attention_embeddings=config.attention_embeddings,
            attention_units=config.attention_units,
            remove=config.remove,
            fmb_activation=config.fmb_activation,
            residual_bias=config.residual_bias,
            mlp_activation=config.mlp_activation,
            mlp_bias=config.mlp_bias,
            mlp_glu=config.mlp_glu,
            remat=self._remat,
            dtype=self.dtype_policy,
            name="stack",
        )
        self.stack.build((None, rows, width))
        _, rows, width = self.stack.compute_output_shape((None, rows, width))
        self.heads = self.make_heads(rows * width, config.head_units)

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, d] to {task: logits [B, 1]}."""
        x = self.stack(x, training=training)  # [B, n_F + n_L, d]
        return self.logits(self.heads, flatten(x), training)

    def layer_outputs(self, x: Any, training: bool | None = None) -> list[Any]:
        """Maps embeddings [B, n, d] to each layer's [B, n_F + n_L, d]."""
        return self.stack.layer_outputs(x, training=training)
