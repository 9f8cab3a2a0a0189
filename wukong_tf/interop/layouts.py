"""How public Wukongs name and store their weights."""

import dataclasses
import re
from collections.abc import Mapping

from wukong_tf.errors import InteropError


@dataclasses.dataclass(frozen=True)
class Chain:
    """The keys of an MLP: its modules by index.

    Args:
        modules: key of a module, with "{}" for its index, or "{}" twice for
            the index of a layer and of a module in it.
        last: key of the last linear layer if it is not one of `modules`.
            Defaults to None.
        step: modules of a hidden layer, such as 2 for a linear layer and a
            ReLU; not used if `modules` has two indices. Defaults to 2.
        batch_norm: whether a batch normalization follows every hidden linear
            layer. Defaults to False.
    """

    modules: str
    last: str | None = None
    step: int = 2
    batch_norm: bool = False

    def linear(self, index: int, hidden: int) -> str:
        """Returns the key of linear layer `index` after `hidden` hidden ones.

        Args:
            index: index of the linear layer.
            hidden: number of hidden layers; the last layer has this index.
        """
        if self.last is not None and index == hidden:
            return self.last
        if self.modules.count("{}") == 2:
            return self.modules.format(index, 0)
        return self.modules.format(self.step * index)

    def pattern(self, prefix: str) -> re.Pattern[str]:
        """Returns a pattern of the keys of its modules' tensors.

        Its groups are the module's key and then each index.
        """
        key = re.escape(prefix + self.modules).replace(r"\{\}", r"(\d+)")
        return re.compile(rf"({key})\.\w+")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The keys and orientations of one implementation's weights.

    Args:
        name: name of the implementation.
        layers: key of the list of interaction layers.
        arrays: our name of each array of a layer, but those of the MLP, to its
            key in the layer.
        block_mlp: the MLP of a layer's factorization machine block.
        head: the MLP to the logit.
        tables: key of a feature's table, with {index}, {name} and {table}.
        transposed: names in `arrays` that are stored transposed.
        numbers: key of the linear layer that embeds all numbers, or None.
        activation: activation of the factorization machine block's output.
        full: whether a layer may have no projection. Defaults to False.
        uniform: whether all layers have the same sizes. Defaults to True.
        least_hidden: fewest hidden layers of an MLP. Defaults to 0.
        most_hidden: most hidden layers of `block_mlp`. Defaults to None, any
            number.
        reasons: beginnings of keys that have no counterpart, and why.
    """

    name: str
    layers: str
    arrays: Mapping[str, str]
    block_mlp: Chain
    head: Chain
    tables: str
    transposed: frozenset[str] = frozenset()
    numbers: str | None = None
    activation: str = "linear"
    full: bool = False
    uniform: bool = True
    least_hidden: int = 0
    most_hidden: int | None = None
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def residual_bias(self) -> bool:
        """Whether a residual that is a projection has a bias."""
        return "residual/bias" in self.arrays


_ARRAYS = {
    "fmb/projection": "fmb.weight",
    "fmb/norm/gamma": "fmb.norm.weight",
    "fmb/norm/beta": "fmb.norm.bias",
    "lcb/kernel": "lcb.weight",
    "residual/kernel": "residual_projection.weight",
    "norm/gamma": "norm.weight",
    "norm/beta": "norm.bias",
}

_TORCHEASYREC = Layout(
    "torcheasyrec",
    layers="_wukong_layers",
    arrays=_ARRAYS,
    block_mlp=Chain("fmb.mlp.mlp.{}.perceptron.{}", "fmb.feature_out_liner"),
    head=Chain("final_mlp.mlp.{}.perceptron.{}", "output_mlp"),
    tables=(
        "embedding_group.emb_impls.__BASE__.ebc.embedding_bags.{table}.weight"
    ),
    uniform=False,
    least_hidden=1,
    reasons={
        "dense_mlp.": "the MLP of the dense group ends in a ReLU, and that of "
        "numeric features here does not; read_stack reads the layers"
    },
)

_FUXICTR = Layout(
    "fuxictr",
    layers="wukong_stack",
    arrays={
        "fmb/projection": "fmb.proj_Y",
        "fmb/norm/gamma": "fmb.layer_norm.weight",
        "fmb/norm/beta": "fmb.layer_norm.bias",
        "lcb/kernel": "lcb.linear.weight",
        "residual/kernel": "residual_proj.weight",
        "residual/bias": "residual_proj.bias",
        "norm/gamma": "layer_norm.weight",
        "norm/beta": "layer_norm.bias",
    },
    transposed=frozenset({"lcb/kernel", "residual/kernel"}),
    block_mlp=Chain("fmb.mlp.mlp.{}"),
    head=Chain("fc.mlp.{}"),
    tables="embedding_layer.embedding_layer.embedding_layers.{name}.weight",
    activation="relu",
    full=True,
    reasons={
        "embedding_layer.embedding_layer.feature_encoders.": "encoders of "
        "features have no counterpart"
    },
)

_MLCC = Layout(
    "mlcc",
    layers="wukong_interaction.interaction_layers",
    arrays={**_ARRAYS, "fmb/projection": "fmb.rank_weight"},
    block_mlp=Chain("fmb.mlp.{}"),
    head=Chain("mlp.{}", step=3),
    tables="embeddings.{index}.weight",
    activation="relu",
    most_hidden=0,
)

_CLABRUGERE = Layout(
    "clabrugere",
    layers="interaction_layers",
    arrays=_ARRAYS,
    block_mlp=Chain("fmb.mlp.{}", step=4, batch_norm=True),
    head=Chain("projection_head.{}", step=4, batch_norm=True),
    tables="embedding.sparse_embedding.weight",
    numbers="embedding.dense_embedding",
)

_LAYOUTS = {
    layout.name: layout
    for layout in (_TORCHEASYREC, _FUXICTR, _MLCC, _CLABRUGERE)
}
KINDS = tuple(_LAYOUTS)
"""Names of the implementations."""


def layout_of(kind: str) -> Layout:
    """Returns the layout of an implementation.

    Raises:
        InteropError: `kind` is not one of `KINDS`.
    """
    if kind not in KINDS:
        raise InteropError(
            f"interop: `kind` must be one of {list(KINDS)}; received {kind!r}."
        )
    return _LAYOUTS[kind]
