"""The features and sizes of a Wukong."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from wukong_tf.config import schema
from wukong_tf.config.model_config import EmbeddingModelConfig
from wukong_tf.errors import ConfigError

Sizes = int | tuple[int, ...]
Units = tuple[int, ...] | tuple[tuple[int, ...], ...]


FEW = 32  # most embeddings for which the smallest default sizes are used
DEFAULT_RANK = 8


def sizes_for(embeddings: int) -> dict[str, Any]:
    """Returns the default sizes of a Wukong with `embeddings` rows in X_0.

    Up to 32 they are n_F = n_L = 8 and MLPs of 128 units. Beyond, each layer
    outputs half of the first layer's input rows, at most 128, and the MLPs have
    256 units, or 512 beyond 128 embeddings. The rank is 8 up to 32 embeddings
    and 24 beyond, as in the paper, but at most the input rows of a layer. These
    are this library's choice: the paper gives sizes only for its data sets.
    """
    rows, units = 8, 128
    if embeddings > FEW:
        rows = min(64, -(-embeddings // 4))
        units = 256 if embeddings <= 4 * FEW else 512
    return {
        "num_fmb": rows,
        "num_lcb": rows,
        "mlp_units": (units,),
        "head_units": (units,),
    }


@dataclasses.dataclass(frozen=True)
class WukongConfig(EmbeddingModelConfig):
    """Features and sizes of one Wukong.

    The names follow the paper (arXiv 2403.02545): l, n_F, n_L, k and d.
    `EmbeddingModelConfig` describes the fields that all models share.

    Sizes that default to None are computed from n, the number of embeddings of
    the features, when the configuration is created; see `sizes_for`.

    Args:
        num_layers: l, the number of interaction layers. Defaults to 3.
        num_fmb: n_F, output embeddings of each factorization machine block; one
            int or one for each layer. Defaults to None, 8 for up to 32
            embeddings.
        num_lcb: n_L, output embeddings of each linear compress block; one int
            or one for each layer. Defaults to None, 8 for up to 32 embeddings.
        rank: k, columns of Y; one int or one for each layer, at most the number
            of its input embeddings. Not used with fm="full". Defaults to None,
            8 or the number of input embeddings if that is less.
        mlp_units: hidden units of the blocks' MLP, or a sequence of them
            for each layer. Defaults to None, (128,) for up to 32
            embeddings.
        fm: "projected" (X X^T Y), "full" (X X^T) or "attentive" (X X^T Y with a
            Y computed from X). Defaults to "projected".
        head_units: hidden units of the MLP from the last layer to the
            logit, for each task. Defaults to None, (128,) for up to 32
            embeddings.
        dropout: dropout rate after every hidden layer of the blocks' MLPs and
            of the head. Defaults to 0.
        attention_embeddings: rows that X is compressed to before fm="attentive"
            computes Y from it. Defaults to 8.
        attention_units: hidden units of the MLP that computes Y. Defaults to
            (32,).
        remove: parts to leave out of every layer, for ablations: "fmb" and
            "lcb" give zeros, "residual" is not added. "linear_path" removes
            both "lcb" and "residual", which are otherwise rejected together.
            Defaults to (), nothing.
        fmb_activation: activation of the factorization machine blocks' output,
            "linear" (none) or "relu". Defaults to "linear".
        residual_bias: whether the residual has a bias in the layers that change
            the number of embeddings, where it is a linear compression. The norm
            takes it out again, so it changes no output. Defaults to False.
        mlp_activation: activation of the hidden layers of the factorization
            machine blocks' MLPs: "relu", "sigmoid", "silu" or "tanh". Defaults
            to "relu".
        mlp_bias: whether those MLPs have biases. Defaults to True.
        mlp_glu: whether the hidden layers of those MLPs are gated linear units
            (arXiv 2002.05202). Defaults to False.
        norm_epsilon: added to the variance in every LayerNorm. Embeddings start
            with a variance of 0.001 and less: a norm with a smaller epsilon
            scales them to 1, as the layers' own default does, one with an
            epsilon of 1 to 10 keeps their size. Defaults to 1.0.
    """

    model: ClassVar[str] = "wukong"
    unwritten: ClassVar[Mapping[str, Any]] = {"norm_epsilon": 1e-5}

    num_layers: int = 3
    # None is replaced in `__post_init__`, so that fields hold numbers.
    num_fmb: Sizes = None  # type: ignore[assignment]
    num_lcb: Sizes = None  # type: ignore[assignment]
    rank: Sizes = None  # type: ignore[assignment]
    mlp_units: Units = None  # type: ignore[assignment]
    fm: str = "projected"
    head_units: tuple[int, ...] = None  # type: ignore[assignment]
    dropout: float = 0.0
    attention_embeddings: int = 8
    attention_units: tuple[int, ...] = (32,)
    remove: tuple[str, ...] = ()
    fmb_activation: str = "linear"
    residual_bias: bool = False
    mlp_activation: str = "relu"
    mlp_bias: bool = True
    mlp_glu: bool = False
    norm_epsilon: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        where = self._where
        schema.check_int(where, "num_layers", self.num_layers, 1)
        for field, value in sizes_for(self.num_embeddings).items():
            if getattr(self, field) is None:
                object.__setattr__(self, field, value)
        for field in ("num_fmb", "num_lcb"):
            self._freeze_sizes(where, field)
        if self.rank is None:
            object.__setattr__(self, "rank", self._rank_that_fits())
        self._freeze_sizes(where, "rank")
        object.__setattr__(self, "mlp_units", schema.frozen(self.mlp_units))
        self._check_mlp_units(where)
        self._check_units("head_units")
        schema.check_rate(where, "dropout", self.dropout)
        schema.check_choice(where, "fm", self.fm, schema.FM_KINDS)
        schema.check_int(
            where, "attention_embeddings", self.attention_embeddings, 1
        )
        self._check_units("attention_units")
        object.__setattr__(self, "remove", schema.frozen(self.remove))
        schema.check_remove(where, self.remove)
        schema.check_choice(
            where, "fmb_activation", self.fmb_activation, schema.FMB_ACTIVATIONS
        )
        schema.check_choice(
            where, "mlp_activation", self.mlp_activation, schema.MLP_ACTIVATIONS
        )
        for field in ("residual_bias", "mlp_bias", "mlp_glu"):
            schema.check_bool(where, field, getattr(self, field))
        schema.check_float(where, "norm_epsilon", self.norm_epsilon, above=0)

    @property
    def unused(self) -> set[str]:
        """Names of fields without effect, given the others and the features."""
        names = super().unused
        if self.fm != "attentive":
            names |= {"attention_embeddings", "attention_units"}
        if self.fm == "full":
            names.add("rank")
        return names

    def _rank_that_fits(self):
        """Returns k for each layer, or one int if all are equal."""
        rows, ranks = self.num_embeddings, []
        most = DEFAULT_RANK if rows <= FEW else 3 * DEFAULT_RANK
        for index in range(self.num_layers):
            ranks.append(min(most, rows))
            rows = sum(
                size[index] if isinstance(size, tuple) else size
                for size in (self.num_fmb, self.num_lcb)
            )
        return ranks[0] if len(set(ranks)) == 1 else tuple(ranks)

    def _freeze_sizes(self, where, field):
        value = schema.frozen(getattr(self, field))
        object.__setattr__(self, field, value)
        values = value if isinstance(value, tuple) else (value,)
        for item in values:
            schema.check_int(where, field, item, 1)
        self._check_one_a_layer(where, field, value)

    def _check_mlp_units(self, where):
        units = self.mlp_units
        nested = isinstance(units, tuple) and any(
            isinstance(item, tuple) for item in units
        )
        for item in units if nested else (units,):
            schema.check_units(where, "mlp_units", item)
        if nested:
            self._check_one_a_layer(where, "mlp_units", units)

    def _check_one_a_layer(self, where, field, value):
        if isinstance(value, tuple) and len(value) != self.num_layers:
            raise ConfigError(
                f"{where}: `{field}` must be one value or one for each of "
                f"the {self.num_layers} layers; received {value}."
            )

    def check_ranks(self):
        """Raises ConfigError if a rank is above its layer's input embeddings.

        The model and its cost call this before they build anything.

        Raises:
            ConfigError: names the layer and both numbers.
        """
        if self.fm == "full":
            return
        rows = self.num_embeddings
        for index, (fmb, lcb, rank, _) in enumerate(self.layer_sizes):
            schema.check_rank(self._where, rank, rows, f" of layer {index}")
            rows = fmb + lcb

    @property
    def layer_sizes(self) -> tuple[tuple[int, int, int, tuple[int, ...]], ...]:
        """(num_fmb, num_lcb, rank, mlp_units) of each layer."""
        units: Any = self.mlp_units
        if not any(isinstance(item, tuple) for item in units):
            units = (units,) * self.num_layers
        columns = [
            value if isinstance(value, tuple) else (value,) * self.num_layers
            for value in (self.num_fmb, self.num_lcb, self.rank)
        ]
        return tuple(zip(*columns, units, strict=True))
