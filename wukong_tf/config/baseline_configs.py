"""Configurations of the baselines that Wukong is compared with."""

import dataclasses
from typing import ClassVar

from wukong_tf.config import schema
from wukong_tf.config.model_config import EmbeddingModelConfig, ModelConfig
from wukong_tf.errors import ConfigError

STRUCTURES = ("stacked", "parallel")


@dataclasses.dataclass(frozen=True)
class LogisticRegressionConfig(ModelConfig):
    """Features of a logistic regression, the weakest baseline.

    Args:
        features: the columns; tables' widths, units and groups are not
            used, each id has one weight for each task.
        table_initial_scale: weights of ids are initialized uniformly in
            [-scale, scale]. Defaults to 0.
    """

    model: ClassVar[str] = "logistic_regression"

    table_initial_scale: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self._check_scale(self.table_initial_scale)

    @property
    def first_order(self) -> bool:
        """Whether all weights of the dense part are first-order ones."""
        return True


@dataclasses.dataclass(frozen=True)
class FactorizationMachineConfig(EmbeddingModelConfig):
    """Features and sizes of a factorization machine (Rendle, ICDM 2010).

    `EmbeddingModelConfig` describes the other fields.

    Args:
        bottom_mlp_units: hidden units of the MLPs that embed numeric and
            vector features. Defaults to (), a linear map.
    """

    model: ClassVar[str] = "fm"

    bottom_mlp_units: tuple[int, ...] = ()

    @property
    def row_width(self) -> int:
        """Width of a row: the vector and its first-order weight."""
        return self.embedding_dim + 1

    @property
    def first_order(self) -> bool:
        """Whether the dense part has no bottom MLP and no shared MLP."""
        return not (self.bottom_mlp_units or self.features.embedding_groups)


@dataclasses.dataclass(frozen=True)
class _HeadConfig(EmbeddingModelConfig):
    """Configuration of a model with an MLP head for each task."""

    head_units: tuple[int, ...] = (256, 128)
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self._check_units("head_units")
        schema.check_rate(self._where, "dropout", self.dropout)


@dataclasses.dataclass(frozen=True)
class MLPConfig(_HeadConfig):
    """Features and sizes of an MLP over the concatenated embeddings.

    `EmbeddingModelConfig` describes the other fields.

    Args:
        head_units: hidden units, for each task. Defaults to (256, 128).
        dropout: rate after every hidden layer. Defaults to 0.
    """

    model: ClassVar[str] = "mlp"


@dataclasses.dataclass(frozen=True)
class DLRMConfig(_HeadConfig):
    """Features and sizes of a DLRM (Naumov et al., arXiv 1906.00091).

    `EmbeddingModelConfig` describes the other fields; `bottom_mlp_units`
    are those of DLRM's bottom MLP.

    Args:
        head_units: hidden units of the top MLP, for each task. Defaults to
            (256, 128).
        dropout: rate after every hidden layer of the top MLP. Defaults
            to 0.
    """

    model: ClassVar[str] = "dlrm"

    def __post_init__(self):
        super().__post_init__()
        if self.num_embeddings < 2 and not self.features.numeric:
            raise ConfigError(
                f"{self._where}: dot products need at least 2 embeddings; "
                f"the features have {self.num_embeddings}."
            )


@dataclasses.dataclass(frozen=True)
class DCNv2Config(_HeadConfig):
    """Features and sizes of a DCN-V2 (Wang et al., arXiv 2008.13535).

    `EmbeddingModelConfig` describes the other fields.

    Args:
        num_cross_layers: layers of the cross network. Defaults to 3.
        projection_dim: rank of the cross layers' matrices; it saves parameters
            below half the width of the flattened embeddings. Defaults to None,
            the full rank.
        structure: "stacked", the deep network on top of the cross network, or
            "parallel", next to it. Defaults to "stacked".
        head_units: hidden units of the deep network; for each task if it is
            stacked. Defaults to (256, 128).
        dropout: rate after every hidden layer of the deep network. Defaults
            to 0.
    """

    model: ClassVar[str] = "dcn_v2"

    num_cross_layers: int = 3
    projection_dim: int | None = None
    structure: str = "stacked"

    def __post_init__(self):
        super().__post_init__()
        where = self._where
        schema.check_int(where, "num_cross_layers", self.num_cross_layers, 1)
        if self.projection_dim is not None:
            schema.check_int(where, "projection_dim", self.projection_dim, 1)
            width = self.num_embeddings * self.embedding_dim
            if self.projection_dim > width:
                raise ConfigError(
                    f"{where}: `projection_dim` must be at most the width of "
                    f"the flattened embeddings, {width}; received "
                    f"{self.projection_dim}."
                )
        schema.check_choice(where, "structure", self.structure, STRUCTURES)
        if self.structure == "parallel" and not self.head_units:
            raise ConfigError(
                f"{where}: `head_units` must not be empty with "
                "structure='parallel'; received ()."
            )


@dataclasses.dataclass(frozen=True)
class RankMixerConfig(_HeadConfig):
    """Features and sizes of a RankMixer (Zhu et al., arXiv 2507.15551).

    `EmbeddingModelConfig` describes the other fields.

    Args:
        num_layers: blocks of token mixing and per-token MLPs. Defaults to 2.
        num_tokens: T, tokens that the flattened embeddings are cut into.
            Defaults to 8.
        token_dim: width of a token, a multiple of `num_tokens`. Defaults
            to 64.
        expansion: hidden units of a token's MLP, in widths of a token.
            Defaults to 4.
        head_units: hidden units of the last MLP, for each task. Defaults to
            (128,).
        dropout: rate after every hidden layer of that MLP. Defaults to 0.
        norm_epsilon: added to the variance in every LayerNorm, as in
            `WukongConfig`. Defaults to 1e-5.
    """

    model: ClassVar[str] = "rank_mixer"

    num_layers: int = 2
    num_tokens: int = 8
    token_dim: int = 64
    expansion: int = 4
    head_units: tuple[int, ...] = (128,)
    dropout: float = 0.0
    norm_epsilon: float = 1e-5

    def __post_init__(self):
        super().__post_init__()
        for name in ("num_layers", "num_tokens", "token_dim", "expansion"):
            schema.check_int(self._where, name, getattr(self, name), 1)
        schema.check_float(
            self._where, "norm_epsilon", self.norm_epsilon, above=0
        )
        if self.token_dim % self.num_tokens:
            raise ConfigError(
                f"{self._where}: `token_dim` must be a multiple of "
                f"num_tokens={self.num_tokens}; received {self.token_dim}."
            )

    @property
    def chunk(self) -> int:
        """Numbers of the flattened embeddings that make a token."""
        size = self.num_embeddings * self.embedding_dim
        return -(-size // self.num_tokens)
