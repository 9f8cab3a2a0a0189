"""The Factorization Machine Block of Wukong."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.layers.attentive_projection import AttentiveProjection
from wukong_tf.layers.mlp import MLP


@keras.saving.register_keras_serializable("wukong_tf")
class FactorizationMachineBlock(keras.layers.Layer):
    """Factorization machine block: maps pairwise products to new embeddings.

    FMB(X) = reshape(MLP(LN(flatten(FM(X))))) (arXiv 2403.02545, section 3.4).
    FM(X) is X X^T with fm="full". With fm="projected" it is X X^T Y, computed
    as X (X^T Y), with a trained Y in R^{n x k} (section 3.6, the form of all
    experiments in the paper). With fm="attentive", Y is computed from X by
    `AttentiveProjection`.

    Args:
        num_embeddings: Integer, n_F, the number of output embeddings.
        rank: Integer, k, the number of columns of Y; at most n. Not used, and
            may be None, with fm="full".
        mlp_units: Sequence of integers, the hidden units of the MLP, which ends
            in a layer of num_embeddings * dim units.
        fm: "projected", "full" or "attentive". Defaults to "projected".
        dropout: Float in [0, 1), the dropout rate after the MLPs' hidden
            layers. Defaults to 0.
        epsilon: Positive float, the epsilon of the LayerNorm over the flattened
            interactions. Defaults to 1e-5, which is small compared with
            products of small embeddings.
        projection_initializer: Initializer of a trained Y. Defaults to
            "lecun_normal".
        attention_embeddings: Integer, the number of embeddings that X is
            compressed to before fm="attentive" computes Y. Defaults to 8.
        attention_units: Sequence of integers, the hidden units of the MLP that
            computes Y. Defaults to (32,).
        output_activation: Activation of the output embeddings. Defaults to
            None, as in the paper.
        mlp_activation: Activation of the MLP's hidden layers. Defaults to
            "relu", as in the paper.
        mlp_bias: Boolean, whether the MLP has biases. Defaults to True.
        mlp_glu: Boolean, whether the MLP's hidden layers are gated linear
            units; see `MLP`. Defaults to False.

    Input shape:
        3D tensor with shape `(batch_size, n, dim)`; n and `dim` must be known.

    Output shape:
        3D tensor with shape `(batch_size, num_embeddings, dim)`.

    Raises:
        ValueError: a size is below 1, `rank` is above n, `fm` is unknown,
            `dropout` or `epsilon` is out of range, or the input is not 3D.

    Example:
        >>> block = FactorizationMachineBlock(4, rank=8, mlp_units=(64,))
        >>> block(keras.ops.ones((2, 27, 16))).shape
        (2, 4, 16)
    """

    def __init__(
        self,
        num_embeddings: int,
        rank: int | None,
        mlp_units: Sequence[int],
        fm: str = "projected",
        *,
        dropout: float = 0.0,
        epsilon: float = 1e-5,
        projection_initializer: Any = "lecun_normal",
        attention_embeddings: int = 8,
        attention_units: Sequence[int] = (32,),
        output_activation: Any = None,
        mlp_activation: Any = "relu",
        mlp_bias: bool = True,
        mlp_glu: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        owner = "FactorizationMachineBlock"
        self.num_embeddings = arguments.positive_int(
            owner, "num_embeddings", num_embeddings
        )
        self.fm, self.rank = arguments.interaction(owner, fm, rank)
        self.mlp_units = arguments.units(owner, "mlp_units", mlp_units)
        self.dropout = arguments.dropout_rate(owner, "dropout", dropout)
        self.epsilon = arguments.positive_float(owner, "epsilon", epsilon)
        self.projection_initializer = keras.initializers.get(
            projection_initializer
        )
        self.attention_embeddings = arguments.positive_int(
            owner, "attention_embeddings", attention_embeddings
        )
        self.attention_units = arguments.units(
            owner, "attention_units", attention_units
        )
        self.output_activation = keras.activations.get(output_activation)
        self.mlp_activation = keras.activations.get(mlp_activation)
        self.mlp_bias, self.mlp_glu = mlp_bias, mlp_glu

    def build(self, input_shape: Any):
        """Creates Y, the norm and the MLP."""
        owner = "FactorizationMachineBlock"
        n, width = arguments.embeddings_shape(owner, input_shape)
        columns = n if self.rank is None or self.fm == "full" else self.rank
        if self.fm == "projected":
            arguments.check_rank(owner, columns, n)
            self.projection = self.add_weight(
                name="projection",
                shape=(n, columns),
                initializer=arguments.copies(self.projection_initializer),
            )
        elif self.fm == "attentive":
            self.attention = AttentiveProjection(
                columns,
                self.attention_embeddings,
                self.attention_units,
                dropout=self.dropout,
                epsilon=self.epsilon,
                dtype=self.dtype_policy,
                name="attention",
            )
            self.attention.build(input_shape)
        flat_shape = (input_shape[0], n * columns)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name="norm",
        )
        self.norm.build(flat_shape)
        self.mlp = MLP(
            (*self.mlp_units, self.num_embeddings * width),
            activation=self.mlp_activation,
            dropout=self.dropout,
            # The variance that a product of the two halves keeps.
            kernel_initializer=(
                keras.initializers.VarianceScaling(2**0.5)
                if self.mlp_glu
                else "he_normal"
            ),
            use_bias=self.mlp_bias,
            glu=self.mlp_glu,
            dtype=self.dtype_policy,
            name="mlp",
        )
        self.mlp.build(flat_shape)

    def call(self, x: Any, training: bool | None = None):
        """Maps `(batch, n, dim)` to `(batch, num_embeddings, dim)`."""
        n, width = x.shape[1], x.shape[2]
        if self.fm == "projected":
            # Y^T X, with Y^T shared by the batch: neither the forward nor the
            # backward pass copies X to swap its axes.
            right = ops.matmul(ops.transpose(self.projection), x)  # [B, k, d]
        elif self.fm == "attentive":
            y = self.attention(x, training=training)  # [B, n, k]
            right = ops.matmul(ops.swapaxes(y, 1, 2), x)  # [B, k, d]
        else:
            right = x  # [B, n, d]
        x = ops.matmul(x, ops.swapaxes(right, 1, 2))  # [B, n, k], or [B, n, n]
        x = ops.reshape(x, (-1, n * x.shape[2]))  # [B, n * k]
        x = self.mlp(self.norm(x), training=training)  # [B, n_F * d]
        x = self.output_activation(x)
        return ops.reshape(x, (-1, self.num_embeddings, width))  # [B, n_F, d]

    def compute_output_shape(self, input_shape: Any):
        """Returns `(batch, num_embeddings, dim)`."""
        return (input_shape[0], self.num_embeddings, input_shape[2])

    def get_config(self):
        """Returns the constructor arguments."""
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "rank": self.rank,
            "mlp_units": self.mlp_units,
            "fm": self.fm,
            "dropout": self.dropout,
            "epsilon": self.epsilon,
            "projection_initializer": keras.initializers.serialize(
                self.projection_initializer
            ),
            "attention_embeddings": self.attention_embeddings,
            "attention_units": self.attention_units,
            "output_activation": keras.activations.serialize(
                self.output_activation
            ),
            "mlp_activation": keras.activations.serialize(self.mlp_activation),
            "mlp_bias": self.mlp_bias,
            "mlp_glu": self.mlp_glu,
        }
