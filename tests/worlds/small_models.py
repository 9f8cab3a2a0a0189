"""Small specs with every kind of feature, and their batches and models."""

from typing import Any

import numpy as np
import pytest

from tests import backends
from tests.oracles import blocks
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.models import ClickModel, build_model
from wukong_tf.runs.arrays import assign_slots, model_slots

NUMERIC = (
    NumericFeature("price", "log1p", 0.25, 2.0, clip_max=1.5, missing=0.75),
    NumericFeature("age", mean=-0.5, stddev=1.5, clip_min=-1.0),
)
# Two widths, two features on one table, and non-adjacent tables of one width.
SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 13),
        CategoricalFeature("item", 11, embedding_dim=4),
        CategoricalFeature("city", 5),
        CategoricalFeature("last_item", 11, embedding_dim=4, table="item"),
        CategoricalFeature("shop", 7, embedding_dim=4),
    ),
    numeric=NUMERIC,
    vector=(VectorFeature("content", 3), VectorFeature("image", 2)),
)
# All other kinds of features: units, bags with and without weights, groups,
# tables shared between kinds, and several rows of numbers.
RICH = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 13, units=3, unit_dropout=0.5),
        CategoricalFeature("item", 11),
        CategoricalFeature("seen", 11, table="item", pooling="mean", max_ids=4),
        CategoricalFeature(
            "tags",
            9,
            embedding_dim=4,
            pooling="sqrtn",
            max_ids=3,
            weights="tag_weights",
        ),
        CategoricalFeature("city", 5, embedding_dim=2, embedding_group="rare"),
        CategoricalFeature(
            "words",
            9,
            embedding_dim=4,
            table="tags",
            pooling="sum",
            max_ids=2,
            embedding_group="rare",
        ),
        CategoricalFeature(
            "friends", 13, table="user", units=3, pooling="sum", max_ids=3
        ),
    ),
    numeric=NUMERIC,
    vector=(VectorFeature("content", 3, 2),),
    embedding_groups=(EmbeddingGroup("rare", 2, (5,)),),
)
SIZES: dict[str, Any] = {
    "embedding_dim": 6,
    "num_layers": 2,
    "num_fmb": 3,
    "num_lcb": 2,
    "rank": 3,
    "mlp_units": (7,),
    "bottom_mlp_units": (5,),
    "head_units": (8,),
}
LOOKUPS = pytest.mark.parametrize(
    "lookup",
    ["take", pytest.param("tfrs", marks=backends.tensorflow_only)],
)
TABLES = {"tables_6": ("user", "city"), "tables_4": ("item", "shop")}


def wukong(spec: FeatureSpec = SPEC, **sizes) -> WukongConfig:
    """Returns a Wukong of SIZES, but for those of `sizes`."""
    return WukongConfig(spec, **SIZES | sizes)


CONFIG = wukong()


def inputs(
    rows: int, seed: int = 0, spec: FeatureSpec = SPEC
) -> dict[str, np.ndarray]:
    """Returns a batch of the model's inputs: ids, bags, numbers, vectors."""
    random = np.random.default_rng(seed)
    batch = {}
    for feature in spec.categorical:
        if not feature.pooling:
            ids = random.integers(0, feature.num_ids, rows, np.int32)
            batch[feature.name] = ids
            continue
        size = feature.ids_per_row
        bags = random.integers(1, feature.num_ids, rows * size, np.int32)
        bags = bags.reshape(rows, size)
        lengths = random.integers(0, size + 1, rows)
        batch[feature.name] = bags * (np.arange(size) < lengths[:, None])
        if feature.weights:
            weights = random.integers(0, 3, rows * size).reshape(rows, size)
            batch[feature.weights] = weights.astype(np.float32)
    for numeric in spec.numeric:
        numbers = random.normal(size=rows).astype(np.float32)
        numbers[1 + len(numeric.name) % 3 :: 7] = np.nan
        batch[numeric.name] = numbers
    for vector in spec.vector:
        batch[vector.name] = random.normal(size=(rows, vector.size)).astype(
            np.float32
        )
    return batch


def labels(rows: int, seed: int = 0) -> np.ndarray:
    """Returns random labels, float32 zeros and ones [rows]."""
    return np.random.default_rng(seed).integers(0, 2, rows).astype(np.float32)


def random_weights(model: ClickModel, seed: int = 0) -> blocks.Weights:
    """Returns weights, none at its default, by canonical name."""
    random = np.random.default_rng(seed)
    weights = {}
    for slot in model_slots(model):
        value = random.normal(size=slot.shape) * 0.5
        if "seed_generator" in slot.name:
            weights[slot.name] = np.array([1, 0])
            continue
        if slot.name.endswith("gamma"):
            value += 1.0
        weights[slot.name] = value.astype(np.float32)
    return weights


def make(config=CONFIG, seed: int = 0, **kwargs) -> ClickModel:
    """Returns a model with `random_weights`."""
    model = build_model(config, **kwargs)
    assign_slots(model_slots(model), random_weights(model, seed))
    return model


def numpy(tensor) -> np.ndarray:
    """Returns a tensor or variable as an array."""
    return backends.numpy(tensor)


def float64(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns float arrays as float64, integer arrays unchanged."""
    return {
        name: value.astype(np.float64) if value.dtype.kind == "f" else value
        for name, value in arrays.items()
    }
