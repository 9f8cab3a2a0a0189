"""Base class of models that end in an MLP for each task."""

import random

import keras
from keras import ops

from wukong_tf import extras
from wukong_tf.config import EmbeddingModelConfig
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.layers import MLP, arguments
from wukong_tf.models.click_model import ClickModel
from wukong_tf.names import identifier


class EmbeddingModel(ClickModel):
    """A model over rows of one width, which builds itself when created.

    Subclasses implement `build_score` and `score`.

    Args:
        config: the model's configuration.
        lookup: "take" or "tfrs". Defaults to "take".
        name: of the model. Defaults to the configuration's model name.
        dtype: Keras dtype policy of the dense part.
        host_tables: names of the tables kept in host memory. Defaults to (),
            none.
        sharded_tables: as in `FeatureEmbedding`.
        number_initializer: as in `FeatureEmbedding`.
    """

    def __init__(
        self,
        config: EmbeddingModelConfig,
        *,
        lookup="take",
        name=None,
        dtype=None,
        host_tables=(),
        sharded_tables=(),
        number_initializer=None,
    ):
        super().__init__(config, name=name, dtype=dtype)
        # float32, or float64 if the variables are.
        self._wide = arguments.norm_dtype(self.dtype_policy.variable_dtype)
        self.feature_embedding = FeatureEmbedding(
            config.features,
            config.row_width,
            config.bottom_mlp_units,
            numeric_embeddings=config.numeric_embeddings,
            dropout=config.embedding_dropout,
            initial_scale=config.table_initial_scale,
            lookup=lookup,
            host_tables=host_tables,
            sharded_tables=sharded_tables,
            number_initializer=number_initializer,
            dtype=self._wide,
        )
        self.build()

    def build(self, input_shape=None):
        """Creates every weight; the configuration determines all shapes."""
        if self.built:
            return
        self.feature_embedding.build()
        _, rows, width = self.feature_embedding.compute_output_shape(None)
        self.build_score(rows, width)
        self.built = True

    def build_score(self, rows: int, width: int):
        """Creates the weights of `score` for embeddings [B, rows, width]."""
        raise NotImplementedError

    def make_heads(self, inputs: int, units) -> list[MLP]:
        """Builds an MLP from `inputs` numbers to the logit of each task."""
        heads = [
            MLP(
                (*units, 1),
                dropout=self.config.dropout,
                dtype=self.dtype_policy,
                name=f"head_{identifier(task.name)}",
            )
            for task in self.config.features.tasks
        ]
        for head in heads:
            head.build((None, inputs))
        return heads

    def logits(self, heads, x, training):
        """Returns {task: logits [B, 1]} of the heads for x, never bfloat16."""
        return {
            task.name: ops.cast(head(x, training=training), self._wide)
            for task, head in zip(
                self.config.features.tasks, heads, strict=True
            )
        }


def library():
    """Returns the keras_rs package.

    Its import draws from Python's random numbers, from which the initializers'
    seeds are drawn: without their restored state, the first model of a process
    would have other weights than the next one of the same seed.

    Raises:
        ImportError: it is not installed.
    """
    state = random.getstate()
    try:
        import keras_rs
    except ImportError as error:
        raise ImportError(
            f"this model requires keras-rs, which cannot be imported "
            f"({error}); run {extras.install('wukong_tf[baselines]')}."
        ) from error
    finally:
        random.setstate(state)
    return keras_rs


def flatten(x):
    """Reshapes [B, n, d] to [B, n * d]."""
    return ops.reshape(x, (-1, x.shape[1] * x.shape[2]))


register = keras.saving.register_keras_serializable("wukong_tf")
