"""The Factorization Machine Block of Wukong."""

from collections.abc import Sequence

import keras
from keras import ops

from wukong_tf.layers import arguments
from wukong_tf.layers.mlp import MLP


@keras.saving.register_keras_serializable("wukong_tf")
class FactorizationMachineBlock(keras.layers.Layer):
    """Interacts all pairs of embeddings and maps them to new embeddings.

    FMB(X) = reshape(MLP(LN(flatten(FM(X))))) (arXiv 2403.02545, section
    3.4), where FM(X) is X X^T for fm="full" and X X^T Y, computed as
    X (X^T Y) with a learned Y in R^{n x k}, for fm="projected" (section
    3.6, the form of all the paper's experiments).

    Args:
        num_embeddings: n_F, number of embeddings out.
        rank: k, columns of Y; between 1 and n. Not used, and may be None,
            with fm="full".
        mlp_units: hidden units of the MLP; its output layer of
            num_embeddings * d units is added to them.
        fm: "projected" or "full". Defaults to "projected".
        dropout: rate after the MLP's hidden layers. Defaults to 0.
        epsilon: of the LayerNorm over the flattened interactions. Defaults
            to 1e-5, small beside the products of small embeddings.
        projection_initializer: of Y. Defaults to "lecun_normal".

    Input shape:
        [B, n, d], with n and d known.

    Output shape:
        [B, num_embeddings, d].

    Raises:
        ValueError: a size is below 1, `rank` is above n, `fm` is unknown,
            `dropout` or `epsilon` is out of range, or the input is not
            [B, n, d].

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
        projection_initializer="lecun_normal",
        **kwargs,
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

    def build(self, input_shape):
        """Makes Y, the norm and the MLP for inputs [B, n, d]."""
        owner = "FactorizationMachineBlock"
        n, width = arguments.embeddings_shape(owner, input_shape)
        columns = n
        if self.fm == "projected" and self.rank is not None:
            columns = self.rank
            if columns > n:
                raise ValueError(
                    f"{owner}: `rank` must be between 1 and the number of "
                    f"embeddings in ({n}); received rank={self.rank}."
                )
            self.projection = self.add_weight(
                name="projection",
                shape=(n, columns),
                initializer=arguments.copies(self.projection_initializer),
            )
        flat_shape = (input_shape[0], n * columns)
        self.norm = keras.layers.LayerNormalization(
            epsilon=self.epsilon,
            dtype=arguments.norm_dtype(self.variable_dtype),
            name="norm",
        )
        self.norm.build(flat_shape)
        self.mlp = MLP(
            (*self.mlp_units, self.num_embeddings * width),
            dropout=self.dropout,
            dtype=self.dtype_policy,
            name="mlp",
        )
        self.mlp.build(flat_shape)

    def call(self, x, training=None):
        """[B, n, d] to [B, num_embeddings, d]."""
        n, width = x.shape[1], x.shape[2]
        transposed = ops.swapaxes(x, 1, 2)  # [B, d, n]
        if self.fm == "projected":
            transposed = ops.matmul(transposed, self.projection)  # [B, d, k]
        x = ops.matmul(x, transposed)  # [B, n, k], or [B, n, n]
        x = ops.reshape(x, (-1, n * x.shape[2]))  # [B, n * k]
        x = self.mlp(self.norm(x), training=training)  # [B, n_F * d]
        return ops.reshape(x, (-1, self.num_embeddings, width))  # [B, n_F, d]

    def compute_output_shape(self, input_shape):
        """[B, n, d] to [B, num_embeddings, d]."""
        return (input_shape[0], self.num_embeddings, input_shape[2])

    def get_config(self):
        """Every constructor argument."""
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
        }
