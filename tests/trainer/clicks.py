"""A small click log as Parquet, with a column of every kind."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


def write(path: str, data: dict[str, np.ndarray], group_rows: int = 256):
    """Writes columns as a Parquet file."""
    table = pa.table(
        {
            name: pa.array(list(value) if value.ndim > 1 else value)
            for name, value in data.items()
        }
    )
    pq.write_table(table, path, row_group_size=group_rows)


def write_log(folder: str) -> str:
    """Writes features.json and the three splits; returns `folder`."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "features.json"), "w") as file:
        file.write(SPEC.to_json())
    for seed, (split, rows) in enumerate(
        {"train": 1500, "valid": 400, "test": 500}.items()
    ):
        path = os.path.join(folder, f"{split}.parquet")
        write(path, columns(rows, seed))
    return folder
