"""From a batch of features to X_0, the embeddings that Wukong interacts."""

import re
from collections.abc import Sequence

import keras
from keras import ops

from wukong_tf.embeddings.fused_tables import FusedEmbedding
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.feature_spec import FeatureSpec
from wukong_tf.layers import MLP


class FeatureEmbedding(keras.layers.Layer):
    """Embeds every feature as one or more rows of width d.

    A categorical feature gives one row, read from its table and, where the
    table's width is not d, projected to d without a bias. All numeric
    features together give one row, through an MLP; each vector feature gives
    one, through an MLP of its own (arXiv 2403.02545, section 3.2).

    Args:
        spec: the features.
        embedding_dim: d.
        bottom_mlp_units: hidden units of the MLPs for numbers and vectors.
        dropout: rate on the result. Defaults to 0.
        initial_scale: tables start uniform in [-scale, scale].
        lookup: "take" or "tfrs". Defaults to "take".
        own_widths: whether features' own `embedding_dim` counts. Defaults
            to True.

    All of it is float32: tables and raw numbers lose too much in bfloat16.

    Input:
        a dict of feature name to ids [B] or [B, 1], numbers [B] or [B, 1]
        and vectors [B, size]; other keys are not looked at.

    Output shape:
        [B, n, d]; n counts categorical features, one for the numeric ones
        together if there are any, and vector features, in this order.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        embedding_dim: int,
        bottom_mlp_units: Sequence[int] = (),
        *,
        dropout: float = 0.0,
        initial_scale: float = 0.05,
        lookup: str = "take",
        own_widths: bool = True,
        name: str = "feature_embedding",
    ):
        super().__init__(name=name, dtype="float32")
        self.spec = spec
        self.embedding_dim = embedding_dim
        self.bottom_mlp_units = tuple(bottom_mlp_units)
        self.dropout = keras.layers.Dropout(
            dropout, dtype="float32", name="dropout"
        )
        self.tables = [
            FusedEmbedding(
                table,
                lookup=lookup,
                initializer=keras.initializers.RandomUniform(
                    -initial_scale, initial_scale
                )
                if initial_scale
                else "zeros",
            )
            for table in plan_tables(spec, embedding_dim, own_widths=own_widths)
        ]

    @property
    def num_embeddings(self) -> int:
        """n, the number of rows of X_0."""
        spec = self.spec
        return len(spec.categorical) + bool(spec.numeric) + len(spec.vector)

    def build(self, input_shape=None):
        """Makes tables, projections and MLPs; shapes come from the spec."""
        self.projections = {}
        for embedding in self.tables:
            embedding.build((None, len(embedding.plan.features)))
            width = embedding.plan.width
            if width == self.embedding_dim:
                continue
            for feature in embedding.plan.features:
                projection = keras.layers.Dense(
                    self.embedding_dim,
                    use_bias=False,
                    kernel_initializer="lecun_normal",
                    dtype="float32",
                    name=scope_name(f"projection_{feature}"),
                )
                projection.build((None, width))
                self.projections[feature] = projection
        units = (*self.bottom_mlp_units, self.embedding_dim)
        self.numeric_mlp = None
        if self.spec.numeric:
            self.numeric_mlp = MLP(units, dtype="float32", name="numeric")
            self.numeric_mlp.build((None, len(self.spec.numeric)))
        self.vector_mlps = []
        for vector in self.spec.vector:
            name = scope_name(f"vector_{vector.name}")
            mlp = MLP(units, dtype="float32", name=name)
            mlp.build((None, vector.size))
            self.vector_mlps.append(mlp)

    def call(self, inputs, training=None):
        """Dict of features to [B, n, d]."""
        parts = self._categorical(inputs)
        if self.numeric_mlp is not None:
            numbers = stack_columns(inputs, self.spec.numeric)  # [B, F]
            parts.append(self.numeric_mlp(numbers)[:, None])  # [B, 1, d]
        for feature, mlp in zip(
            self.spec.vector, self.vector_mlps, strict=True
        ):
            parts.append(mlp(inputs[feature.name])[:, None])  # [B, 1, d]
        x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
        return self.dropout(x, training=training)  # [B, n, d]

    def _categorical(self, inputs):
        """Embeddings of the categorical features, in spec order."""
        if len(self.tables) == 1 and not self.projections:
            return [
                self.tables[0](stack_columns(inputs, self.spec.categorical))
            ]
        rows = {}
        for embedding in self.tables:
            by_name = {f.name: f for f in self.spec.categorical}
            features = [by_name[name] for name in embedding.plan.features]
            read = embedding(stack_columns(inputs, features))  # [B, F, width]
            for index, feature in enumerate(features):
                row = read[:, index]  # [B, width]
                if feature.name in self.projections:
                    row = self.projections[feature.name](row)  # [B, d]
                rows[feature.name] = row[:, None]  # [B, 1, d]
        return [rows[feature.name] for feature in self.spec.categorical]

    def compute_output_shape(self, input_shape):
        """The shape [B, n, d]."""
        del input_shape
        return (None, self.num_embeddings, self.embedding_dim)


def scope_name(name: str) -> str:
    """A name for a layer, with "_" for what TensorFlow takes in no scope."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def stack_columns(inputs, features):
    """Columns [B] or [B, 1] of `features` as one tensor [B, F]."""
    columns = [ops.reshape(inputs[f.name], (-1, 1)) for f in features]
    return columns[0] if len(columns) == 1 else ops.concatenate(columns, 1)
