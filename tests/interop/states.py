"""Small state dicts of public Wukongs, by the constructors of their modules."""

import dataclasses
import itertools

import numpy as np

from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature

Tensors = dict[str, np.ndarray]
IDS = 4  # of every table
FEATURES = ("user", "item", "shop")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a model; its first layer changes the number of embeddings."""

    width: int = 4
    fmb: int = 2
    lcb: int = 2
    rank: int | None = 2
    units: tuple[int, ...] = (3,)
    head: tuple[int, ...] = (3,)
    layers: int = 2
    norms: bool = False


class _Maker:
    """Random tensors under the keys of modules of torch.nn."""

    def __init__(self, seed: int):
        self.tensors: Tensors = {}
        self._random = np.random.default_rng(seed)

    def parameter(self, key, *shape, mean=0.0):
        self.tensors[key] = mean + 0.5 * self._random.normal(size=shape)

    def linear(self, key, inputs, outputs, bias=True):
        self.parameter(f"{key}.weight", outputs, inputs)
        if bias:
            self.parameter(f"{key}.bias", outputs)

    def layer_norm(self, key, size):
        self.parameter(f"{key}.weight", size, mean=1.0)
        self.parameter(f"{key}.bias", size)

    def batch_norm(self, key, size):
        self.layer_norm(key, size)
        self.parameter(f"{key}.running_mean", size)
        random = self._random.uniform(0.5, 2.0, size)
        self.tensors[f"{key}.running_var"] = random
        self.tensors[f"{key}.num_batches_tracked"] = np.array(7)

    def sequential(self, key, sizes, step, norms=False):
        """Linear layers, each `step` modules after the one before."""
        last = len(sizes) - 2
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            self.linear(f"{key}.{index * step}", inputs, outputs)
            if norms and index < last:
                self.batch_norm(f"{key}.{index * step + 1}", outputs)


def features(kind: str) -> FeatureSpec:
    """Returns the features of an implementation's small model."""
    if kind == "clabrugere":
        ids = (CategoricalFeature(n, IDS, table="ids") for n in FEATURES[:2])
        return FeatureSpec(tuple(ids), (NumericFeature("price"),))
    ids = (CategoricalFeature(name, IDS) for name in FEATURES)
    return FeatureSpec(tuple(ids))


def batch(kind: str, rows: int = 5, seed: int = 1) -> dict[str, np.ndarray]:
    """Returns random ids and, for an implementation that has any, numbers."""
    random = np.random.default_rng(seed)
    spec = features(kind)
    columns = {
        feature.name: random.integers(0, IDS, rows, np.int32)
        for feature in spec.categorical
    }
    numbers = {f.name: random.normal(size=rows) for f in spec.numeric}
    return columns | numbers


def labels(rows: int = 5, seed: int = 2) -> np.ndarray:
    """Returns random labels, zeros and ones."""
    return np.random.default_rng(seed).integers(0, 2, rows).astype(float)


def torcheasyrec(sizes: Sizes) -> Tensors:
    """WuKong with one sparse group."""
    make = _Maker(11)
    bags = "embedding_group.emb_impls.__BASE__.ebc.embedding_bags"
    for name in FEATURES:
        make.parameter(f"{bags}.{name}_emb.weight", IDS, sizes.width)
    for at, n, out in _layers("_wukong_layers", sizes):
        make.parameter(f"{at}.lcb.weight", n, sizes.lcb)
        make.parameter(f"{at}.fmb.weight", n, sizes.rank)
        make.layer_norm(f"{at}.fmb.norm", n * sizes.rank)
        _perceptrons(make, f"{at}.fmb.mlp", (n * sizes.rank, *sizes.units))
        make.linear(
            f"{at}.fmb.feature_out_liner",
            sizes.units[-1],
            sizes.fmb * sizes.width,
        )
        make.layer_norm(f"{at}.norm", sizes.width)
        if n != out:
            make.parameter(f"{at}.residual_projection.weight", n, out)
    flat = (sizes.fmb + sizes.lcb) * sizes.width
    _perceptrons(make, "final_mlp", (flat, *sizes.head))
    make.linear("output_mlp", sizes.head[-1], 1)
    return make.tensors


def fuxictr(sizes: Sizes) -> Tensors:
    """WuKong over categorical features."""
    make = _Maker(12)
    tables = "embedding_layer.embedding_layer.embedding_layers"
    for name in FEATURES:
        make.parameter(f"{tables}.{name}.weight", IDS, sizes.width)
    for at, n, out in _layers("wukong_stack", sizes):
        flat = n * (sizes.rank or n)
        if sizes.rank:
            make.parameter(f"{at}.fmb.proj_Y", n, sizes.rank)
        make.layer_norm(f"{at}.fmb.layer_norm", flat)
        outputs = sizes.fmb * sizes.width
        make.sequential(f"{at}.fmb.mlp.mlp", (flat, *sizes.units, outputs), 2)
        make.linear(f"{at}.lcb.linear", n, sizes.lcb, bias=False)
        make.layer_norm(f"{at}.layer_norm", sizes.width)
        if n != out:
            make.linear(f"{at}.residual_proj", n, out)
    flat = (sizes.fmb + sizes.lcb) * sizes.width
    step = 3 if sizes.norms else 2
    make.sequential("fc.mlp", (flat, *sizes.head, 1), step, sizes.norms)
    return make.tensors


def mlcc(sizes: Sizes) -> Tensors:
    """The Wukong of MLCC's authors, whose FMB has no hidden layer."""
    make = _Maker(13)
    for index in range(len(FEATURES)):
        make.parameter(f"embeddings.{index}.weight", IDS, sizes.width)
    for at, n, out in _layers("wukong_interaction.interaction_layers", sizes):
        make.layer_norm(f"{at}.norm", sizes.width)
        make.parameter(f"{at}.lcb.weight", n, sizes.lcb)
        make.layer_norm(f"{at}.fmb.norm", n * sizes.rank)
        make.parameter(f"{at}.fmb.rank_weight", n, sizes.rank)
        make.linear(f"{at}.fmb.mlp.0", n * sizes.rank, sizes.fmb * sizes.width)
        if n != out:
            make.parameter(f"{at}.residual_projection.weight", n, out)
    flat = (sizes.fmb + sizes.lcb) * sizes.width
    make.sequential("mlp", (flat, *sizes.head, 1), 3)
    return make.tensors


def clabrugere(sizes: Sizes) -> Tensors:
    """Clabrugere's Wukong; with hidden layers it has batch normalizations."""
    make = _Maker(14)
    make.parameter("embedding.sparse_embedding.weight", IDS, sizes.width)
    make.linear("embedding.dense_embedding", 1, sizes.width)
    for at, n, out in _layers("interaction_layers", sizes):
        make.parameter(f"{at}.lcb.weight", n, sizes.lcb)
        make.parameter(f"{at}.fmb.weight", n, sizes.rank)
        flat = n * sizes.rank
        make.layer_norm(f"{at}.fmb.norm", flat)
        mlp = (flat, *sizes.units, sizes.fmb * sizes.width)
        make.sequential(f"{at}.fmb.mlp", mlp, 4, norms=True)
        make.layer_norm(f"{at}.norm", sizes.width)
        if n != out:
            make.parameter(f"{at}.residual_projection.weight", n, out)
    flat = (sizes.fmb + sizes.lcb) * sizes.width
    make.sequential("projection_head", (flat, *sizes.head, 1), 4, norms=True)
    return make.tensors


OF = {
    "torcheasyrec": torcheasyrec,
    "fuxictr": fuxictr,
    "mlcc": mlcc,
    "clabrugere": clabrugere,
}


def make(kind: str, **sizes) -> Tensors:
    """Returns a state dict that is exact in training too, unless `sizes` is.

    Args:
        kind: the implementation.
        **sizes: fields of `Sizes`.
    """
    if kind == "clabrugere":
        sizes = {"units": (), "head": (), **sizes}
    return OF[kind](Sizes(**sizes))


def _layers(prefix, sizes):
    """Yields the key, embeddings in and embeddings out of each layer."""
    n, out = len(FEATURES), sizes.fmb + sizes.lcb
    for index in range(sizes.layers):
        yield f"{prefix}.{index}", n, out
        n = out


def _perceptrons(make, key, sizes):
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        make.linear(f"{key}.mlp.{index}.perceptron.0", inputs, outputs)
