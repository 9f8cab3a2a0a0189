"""Logistic regression, the baseline that every model must beat."""

from collections.abc import Collection
from typing import Any

import keras
from keras import ops

from wukong_tf.config import LogisticRegressionConfig
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.models.click_model import ClickModel


@keras.saving.register_keras_serializable("wukong_tf")
class LogisticRegression(ClickModel):
    """A weight for each id, number and vector entry, and a bias.

    The logit is the sum of the embeddings, which are one float wide for each
    task. All weights start at 0, except those of ids if the configuration gives
    a scale.

    Args:
        config: features.
        lookup: "take" or "tfrs". Defaults to "take".
        name: model name. Defaults to "logistic_regression".
        dtype: Keras dtype policy; all of this model is float32.
        host_tables: as in `EmbeddingModel`.
        sharded_tables: as in `FeatureEmbedding`.
    """

    def __init__(
        self,
        config: LogisticRegressionConfig,
        *,
        lookup: str = "take",
        name: str | None = None,
        dtype: Any = None,
        host_tables: Collection[str] = (),
        sharded_tables: Collection[str] = (),
    ):
        super().__init__(config, name=name, dtype=dtype)
        self.feature_embedding = FeatureEmbedding(
            config.features.one_row_each(),
            len(config.features.tasks),
            initial_scale=config.table_initial_scale,
            lookup=lookup,
            host_tables=host_tables,
            sharded_tables=sharded_tables,
            number_initializer=keras.initializers.Zeros(),
        )
        self.build()

    def build(self, input_shape: Any = None):
        """Creates every weight; the configuration determines all shapes."""
        if self.built:
            return
        self.feature_embedding.build()
        self.bias = self.add_weight(
            name="bias",
            shape=(len(self.config.features.tasks),),
            initializer="zeros",
            dtype="float32",
            autocast=False,
        )
        self.built = True

    def score(self, x: Any, training: bool | None = None):
        """Maps embeddings [B, n, tasks] to {task: logits [B, 1]}."""
        total = ops.sum(x, axis=1) + self.bias  # [B, tasks]
        return {
            task.name: total[:, index : index + 1]
            for index, task in enumerate(self.config.features.tasks)
        }
