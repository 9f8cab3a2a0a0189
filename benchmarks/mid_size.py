"""Model and batches shared by the speed benchmarks.

39 features of width 64, three layers of n_F = n_L = 16 and k = 24, MLPs and
head of (512, 512), batches of 2,048 rows.
"""

import itertools
from typing import Any

import numpy as np

from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig

FEATURES, BATCH = 39, 2048
SIZES: dict[str, Any] = {
    "embedding_dim": 64,
    "num_layers": 3,
    "num_fmb": 16,
    "num_lcb": 16,
    "rank": 24,
    "mlp_units": (512, 512),
    "head_units": (512, 512),
}
NAMES = tuple(f"feature_{index}" for index in range(FEATURES))


def features(rows: int) -> FeatureSpec:
    """Returns features whose tables have about `rows` rows together."""
    return FeatureSpec(
        tuple(CategoricalFeature(name, rows // FEATURES) for name in NAMES)
    )


def config(rows: int) -> WukongConfig:
    """Returns the model's configuration over tables of about `rows` rows."""
    return WukongConfig(features(rows), **SIZES)


def batch(spec: FeatureSpec, seed: int | list[int], rows: int = BATCH):
    """Returns a batch of uniformly distributed ids, and labels."""
    random = np.random.default_rng(seed)
    columns = {
        feature.name: random.integers(0, feature.num_ids, rows, np.int32)
        for feature in spec.categorical
    }
    columns["label"] = random.integers(0, 2, rows).astype(np.float32)
    return columns


def optimizers(model):
    """Returns built optimizers of the model's tables and of the rest."""
    from wukong_tf.optimizers import (
        ClippedAdam,
        OptimizerGroups,
        RowwiseAdagrad,
    )
    from wukong_tf.optimizers.groups import TABLES

    groups = OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (RowwiseAdagrad(0.05), TABLES),
            "dense": (ClippedAdam(1e-3), None),
        },
    )
    groups.build()
    return groups


def train_step(rows: int, lookup: str = "tfrs", jit_compile: bool = False):
    """Returns the configuration, and the trainer's step function for it."""
    from trainer.loop.steps import make_train_step
    from wukong_tf.models import build_model

    sizes = config(rows)
    model = build_model(sizes, lookup=lookup)
    step = make_train_step(model, optimizers(model), jit_compile=jit_compile)
    return sizes, step


def training_step(rows: int, lookup: str = "tfrs", jit_compile: bool = False):
    """Returns the configuration, and a function training on the next batch."""
    import tensorflow as tf

    from trainer.data.pipeline import GLOBAL_ROWS

    sizes, function = train_step(rows, lookup, jit_compile)
    step = tf.function(function)
    batches = []
    for seed in range(8):
        columns = batch(sizes.features, seed)
        tensors = {name: tf.constant(value) for name, value in columns.items()}
        tensors[GLOBAL_ROWS] = tf.constant(float(BATCH))
        batches.append(tensors)
    cycle = itertools.cycle(batches)
    return sizes, lambda: step(next(cycle)).numpy()
