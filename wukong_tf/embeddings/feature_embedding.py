"""Maps a batch of features to X_0, the embeddings that Wukong interacts."""

from collections.abc import Collection, Sequence

import keras
from keras import ops

from wukong_tf.config.categorical_feature import CategoricalFeature
from wukong_tf.config.feature_spec import FeatureSpec
from wukong_tf.config.features import EmbeddingGroup
from wukong_tf.embeddings import bags
from wukong_tf.embeddings.fused_tables import FusedEmbedding
from wukong_tf.embeddings.numbers import NumberTransforms
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.embeddings.unit_dropout import UnitDropout
from wukong_tf.layers import MLP
from wukong_tf.names import identifier


class FeatureEmbedding(keras.layers.Layer):
    """Embeds every feature as one or more rows of width d.

    A categorical feature gives a row for each of its units, read from its table
    and, if the table's width is not d, projected to d without a bias; the
    embeddings of a bag are pooled first. The features of an embedding group are
    concatenated, and an MLP maps them to the group's rows. All numeric
    features, clipped, transformed and standardized as in `NumericFeature`, go
    through an MLP to one row or more, and each vector feature through a
    separate MLP (arXiv 2403.02545, section 3.2).

    Args:
        spec: the features.
        embedding_dim: d.
        bottom_mlp_units: hidden units of the MLPs for numbers and vectors.
        numeric_embeddings: rows that the numeric features give. Defaults
            to 1.
        dropout: dropout rate on the output. Defaults to 0.
        initial_scale: tables are initialized uniformly in [-scale, scale],
            unless the spec's `tables` set another scale.
        lookup: "take" or "tfrs". Defaults to "take".
        host_tables: names of the tables kept in host memory while the rest is
            on an accelerator. Defaults to (), none.
        sharded_tables: names of the tables whose rows are sharded over the
            workers of a run. Defaults to (), none.
        number_initializer: initializer of the last weights of the MLPs for
            numbers and vectors. Defaults to None, that of `MLP`.
        dtype: dtype of the layer, "float32" or "float64": tables and raw
            numbers lose too much in bfloat16. Defaults to "float32".

    Input shape:
        Dict of feature name to ids with shape `(batch_size,)` or
        `(batch_size, 1)`, bags of ids and their weights with shape
        `(batch_size, max_ids)`, raw numbers with shape `(batch_size,)` or
        `(batch_size, 1)`, NaN if missing, and vectors with shape
        `(batch_size, size)`; other keys are ignored.

    Output shape:
        3D tensor with shape `(batch_size, num_embeddings, embedding_dim)`: the
        rows of categorical features outside groups, of groups, of the numeric
        features and of vector features, in this order.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        embedding_dim: int,
        bottom_mlp_units: Sequence[int] = (),
        *,
        numeric_embeddings: int = 1,
        dropout: float = 0.0,
        initial_scale: float = 0.05,
        lookup: str = "take",
        host_tables: Collection[str] = (),
        sharded_tables: Collection[str] = (),
        number_initializer: keras.initializers.Initializer | None = None,
        dtype: str = "float32",
        name: str = "feature_embedding",
    ):
        super().__init__(name=name, dtype=dtype)
        self.spec = spec
        self.embedding_dim = embedding_dim
        self.bottom_mlp_units = tuple(bottom_mlp_units)
        self.number_initializer = number_initializer
        self.numeric_embeddings = numeric_embeddings
        self.dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="dropout"
        )
        features = [f for f in self.spec.categorical if f.unit_dropout]
        self.unit_dropout = UnitDropout(features) if features else None
        seed = keras.initializers.RandomUniform().seed  # Keras's next
        self.tables = [
            FusedEmbedding(
                table,
                lookup=lookup,
                initial_scales=[
                    self._initial_scale(part.name, initial_scale)
                    for part in table.tables
                ],
                seed=seed,
                dtype=dtype,
            )
            for table in plan_tables(
                spec,
                embedding_dim,
                host_tables=host_tables,
                sharded_tables=sharded_tables,
            )
        ]

    def _initial_scale(self, table, default):
        scale = self.spec.table_settings(table).initial_scale
        return default if scale is None else scale

    @property
    def num_embeddings(self) -> int:
        """n, the number of rows of X_0."""
        return self.spec.num_embeddings(self.numeric_embeddings)

    def build(self, input_shape=None):
        """Creates tables, projections and MLPs; shapes come from the spec."""
        self._features = {f.name: f for f in self.spec.categorical}
        self.projections = {}
        widths = {}
        for embedding in self.tables:
            embedding.build((None, sum(embedding.plan.columns)))
            for name in embedding.plan.features:
                widths[name] = embedding.plan.width
        for name, feature in self._features.items():
            width = self.embedding_dim * feature.kept_units
            if not feature.embedding_group and widths[name] != width:
                self.projections[name] = self._projection(name, widths[name])
        self.group_mlps = [
            self._mlp(
                f"group_{identifier(group.name)}",
                sum(widths[f.name] for f in self._members(group)),
                group.num_embeddings,
                group.mlp_units,
            )
            for group in self.spec.embedding_groups
        ]
        self.numeric_mlp = None
        if numbers := self.spec.numeric:
            self.numeric_mlp = self._mlp(
                "numeric", len(numbers), self.numeric_embeddings
            )
            self._transforms = NumberTransforms(numbers)
        self.vector_mlps = [
            self._mlp(f"vector_{identifier(v.name)}", v.size, v.num_embeddings)
            for v in self.spec.vector
        ]

    def _projection(self, feature, width):
        projection = keras.layers.Dense(
            self.embedding_dim,
            use_bias=False,
            kernel_initializer="lecun_normal",
            dtype=self.dtype_policy,
            name=f"projection_{identifier(feature)}",
        )
        projection.build((None, width))
        return projection

    def _mlp(self, name, inputs, rows, units=None):
        """Builds an MLP from `inputs` numbers to `rows` embeddings.

        Without `units`, it has those of MLPs for numbers and vectors.
        """
        options = {}
        if units is None:
            units = self.bottom_mlp_units
            if self.number_initializer is not None:
                options["output_initializer"] = self.number_initializer
        mlp = MLP(
            (*units, rows * self.embedding_dim),
            dtype=self.dtype_policy,
            name=name,
            **options,
        )
        mlp.build((None, inputs))
        return mlp

    def _members(self, group: EmbeddingGroup) -> list[CategoricalFeature]:
        """Returns the features of a group, in spec order."""
        features = self.spec.categorical
        return [f for f in features if f.embedding_group == group.name]

    def call(self, inputs, training=None):
        """Maps a dict of features to [B, n, d]."""
        if len(self.tables) == 1 and self._plain(self.tables[0]):
            ids = bags.stack_columns(inputs, self.spec.categorical)  # [B, C]
            return self._join([self.tables[0](ids)], inputs, training)
        return self.join(self.read(inputs), inputs, training)

    def read(self, inputs):
        """Looks up the rows of the tables, bags pooled.

        Args:
            inputs: dict of features, as `call` takes it.

        Returns:
            dict of categorical feature to [B, 1, width of its table].
        """
        rows: dict = {}
        for embedding in self.tables:
            rows |= self._read(embedding, inputs)
        return rows

    def join(self, rows, inputs, training=None):
        """Computes the output of `call` from the rows of `read`.

        Args:
            rows: dict of categorical feature to [B, 1, width of its table].
            inputs: dict with the numeric features, raw, and the vectors.
            training: whether to apply dropout.

        Returns:
            [B, n, d].
        """
        parts = self._categorical(rows, training)
        return self._join(parts, inputs, training)

    def _join(self, parts, inputs, training):
        """Concatenates the rows of all kinds of features."""
        if self.numeric_mlp is not None:
            numbers = bags.stack_columns(inputs, self.spec.numeric)  # [B, F]
            numbers = ops.cast(numbers, self.compute_dtype)
            numbers = self._transforms(numbers)
            parts.append(self._rows(self.numeric_mlp(numbers)))
        for feature, mlp in zip(
            self.spec.vector, self.vector_mlps, strict=True
        ):
            parts.append(self._rows(mlp(inputs[feature.name])))
        x = parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=1)
        return self.dropout(x, training=training)  # [B, n, d]

    def _rows(self, flat):
        """Reshapes [B, rows * d] to [B, rows, d]."""
        rows = flat.shape[-1] // self.embedding_dim
        return ops.reshape(flat, (-1, rows, self.embedding_dim))

    def _categorical(self, read, training):
        """Returns rows of the categorical features and groups, in order."""
        kept = None
        if training and self.unit_dropout is not None:
            kept = self.unit_dropout.draw()
        parts = [
            self._units(feature, read[feature.name], kept)
            for feature in self.spec.categorical
            if not feature.embedding_group
        ]
        for group, mlp in zip(
            self.spec.embedding_groups, self.group_mlps, strict=True
        ):
            rows = [read[feature.name] for feature in self._members(group)]
            flat = rows[0] if len(rows) == 1 else ops.concatenate(rows, -1)
            parts.append(self._rows(mlp(flat[:, 0])))  # [B, rows, d]
        return parts

    def _plain(self, embedding):
        """Returns whether looked-up rows need no further processing."""
        return embedding.plan.width == self.embedding_dim and not any(
            feature.pooling or feature.embedding_group or feature.units > 1
            for feature in self._features.values()
        )

    def _read(self, embedding, inputs):
        """Returns {feature: [B, 1, width]} of one fused table, bags pooled."""
        plan = embedding.plan
        features = [self._features[name] for name in plan.features]
        read = embedding(bags.stack_columns(inputs, features))  # [B, C, width]
        # Split in one operation, whose gradient is one operation too.
        ends = [sum(plan.columns[:index]) for index in range(1, len(features))]
        parts = ops.split(read, ends, axis=1) if ends else [read]
        rows = {}
        for feature, part in zip(features, parts, strict=True):
            if feature.pooling:
                weights = feature.weights and inputs[feature.weights]
                part = bags.pool(feature, part, inputs[feature.name], weights)
            rows[feature.name] = part
        return rows

    def _units(self, feature, row, kept):
        """Maps [B, 1, width] to the feature's rows [B, units, d]."""
        if feature.name in self.projections:
            return self.projections[feature.name](row)  # [B, 1, d]
        if feature.units == 1:
            return row
        shape = (-1, feature.kept_units, self.embedding_dim)
        rows = ops.reshape(row, shape)  # [B, kept units, d]
        if kept is not None and self.unit_dropout is not None:
            rows = self.unit_dropout(rows, feature=feature.name, kept=kept)
        cut = feature.units - feature.kept_units
        return ops.pad(rows, ((0, 0), (0, cut), (0, 0))) if cut else rows

    def compute_output_shape(self, input_shape):
        """Returns the shape [B, n, d]."""
        del input_shape
        return (None, self.num_embeddings, self.embedding_dim)
