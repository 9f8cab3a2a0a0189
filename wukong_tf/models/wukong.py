"""Wukong, from features to logits."""

import keras
from keras import ops

from wukong_tf.config import WukongConfig
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding, scope_name
from wukong_tf.layers import MLP, InteractionStack
from wukong_tf.models.click_model import ClickModel


@keras.saving.register_keras_serializable("wukong_tf")
class Wukong(ClickModel):
    """Wukong (arXiv 2403.02545): embeddings, stacked interactions, an MLP.

    logit = MLP(flatten(InteractionStack(X_0))) for each task, where X_0
    holds one row of width d for each feature.

    Args:
        config: features and sizes.
        lookup: "take" reads tables with keras.ops.take and runs anywhere;
            "tfrs" reads them with TensorFlow Recommenders, as the trainer
            does. The weights are the same. Defaults to "take".
        remat: whether training computes each interaction layer again on
            the way back instead of keeping what it made; see
            `InteractionStack`. Defaults to False.
        name: of the model. Defaults to "wukong".
        dtype: Keras dtype policy of the dense part, such as "float32" or
            "mixed_bfloat16". Defaults to Keras's global policy.

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
        >>> model = Wukong(WukongConfig(spec, rank=2))
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
        lookup="take",
        remat=False,
        name=None,
        dtype=None,
    ):
        config.check_ranks()
        super().__init__(config, name=name, dtype=dtype)
        self.feature_embedding = FeatureEmbedding(
            config.features,
            config.embedding_dim,
            config.bottom_mlp_units,
            numeric_embeddings=config.numeric_embeddings,
            dropout=config.embedding_dropout,
            initial_scale=config.table_initial_scale,
            lookup=lookup,
        )
        self.stack = InteractionStack(
            config.num_layers,
            config.num_fmb,
            config.num_lcb,
            config.rank,
            config.mlp_units,
            config.fm,
            dropout=config.dropout,
            attention_embeddings=config.attention_embeddings,
            attention_units=config.attention_units,
            remove=config.remove,
            remat=remat,
            dtype=self.dtype_policy,
            name="stack",
        )
        self.heads = [
            MLP(
                (*config.head_units, 1),
                dropout=config.dropout,
                dtype=self.dtype_policy,
                name=scope_name(f"head_{task.name}"),
            )
            for task in config.features.tasks
        ]
        self.build()

    def build(self, input_shape=None):
        """Makes every weight; the configuration knows all shapes."""
        if self.built:
            return
        self.feature_embedding.build()
        shape = self.feature_embedding.compute_output_shape(None)
        self.stack.build(shape)
        _, rows, width = self.stack.compute_output_shape(shape)
        for head in self.heads:
            head.build((None, rows * width))
        self.built = True

    def score(self, x, training=None):
        """Embeddings [B, n, d] to {task: logits [B, 1]}."""
        x = self.stack(x, training=training)  # [B, n_F + n_L, d]
        x = ops.reshape(x, (-1, x.shape[1] * x.shape[2]))  # [B, rows * d]
        return {
            task.name: ops.cast(head(x, training=training), "float32")
            for task, head in zip(
                self.config.features.tasks, self.heads, strict=True
            )
        }
