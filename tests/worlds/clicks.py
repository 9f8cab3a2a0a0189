"""A small click log as Parquet, with a column of every kind."""

from pathlib import Path

import numpy as np

from tests.worlds import logs
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
)

SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 40),
        CategoricalFeature("item", 30, embedding_dim=4),
        CategoricalFeature("last_item", 30, embedding_dim=4, table="item"),
    ),
    numeric=(NumericFeature("price", "log1p", mean=1.0, stddev=2.0),),
    vector=(VectorFeature("content", 3),),
    weight="importance",
    group="user",
)


def columns(rows: int, seed: int) -> dict[str, np.ndarray]:
    """Returns random rows with clicks that depend on user and item."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 40, rows), rng.integers(0, 30, rows)
    logit = np.sin(user) + np.cos(3.0 * item) * np.sin(2.0 * user)
    return {
        "user": user.astype(np.int32),
        "item": item,
        "last_item": rng.integers(0, 30, rows),
        "price": rng.exponential(3.0, rows),
        "content": rng.normal(size=(rows, 3)).astype(np.float32),
        "importance": rng.integers(1, 4, rows).astype(np.float32),
        "label": (rng.random(rows) < 1 / (1 + np.exp(-2 * logit))).astype(
            np.int8
        ),
    }


def write_log(folder: Path | str) -> str:
    """Writes features.json and the three splits; returns `folder`."""
    return logs.write_log(
        folder, SPEC, lambda rows, seed: logs.as_table(columns(rows, seed))
    )
