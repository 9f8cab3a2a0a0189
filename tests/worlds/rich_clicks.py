"""A small log with bags, weights, a group of features and two tasks."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.worlds import logs
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FeatureSpec,
    NumericFeature,
    Task,
)

SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 40, units=3, unit_dropout=0.5),
        CategoricalFeature("item", 30),
        CategoricalFeature(
            "seen",
            30,
            table="item",
            pooling="mean",
            max_ids=4,
            weights="seen_weights",
            oov_id=1,
        ),
        CategoricalFeature("site", 9, embedding_dim=2, embedding_group="rare"),
        CategoricalFeature(
            "tags",
            7,
            embedding_dim=3,
            embedding_group="rare",
            pooling="sum",
            max_ids=3,
        ),
    ),
    numeric=(NumericFeature("price", "log1p"),),
    tasks=(
        Task("click", "clicked"),
        Task("buy", "bought", loss_weight=0.5, missing_labels=True),
    ),
    embedding_groups=(EmbeddingGroup("rare", 2, (6,)),),
)


def lists(rng, rows, num_ids, max_ids):
    """Returns random lists of ids, some empty, some null."""
    found = []
    for length in rng.integers(-1, max_ids + 1, rows):
        ids = rng.integers(1, num_ids, max(length, 0)).tolist()
        found.append(None if length < 0 else ids)
    return found


def table(rows: int, seed: int) -> pa.Table:
    """Returns random rows; a clicked row may also be a purchase."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 40, rows), rng.integers(0, 30, rows)
    logit = 2 * np.sin(user) + 2 * np.cos(3.0 * item) * np.sin(2.0 * user)
    clicked = rng.random(rows) < 1 / (1 + np.exp(-logit))
    bought = rng.random(rows) < 1 / (1 + np.exp(-2 * np.cos(item)))
    seen = lists(rng, rows, 30, 4)
    return pa.table(
        {
            "user": user,
            "item": item,
            "seen": pa.array(seen, pa.list_(pa.int64())),
            "seen_weights": pa.array(
                [None if s is None else rng.random(len(s)) for s in seen],
                pa.list_(pa.float64()),
            ),
            "site": rng.integers(0, 9, rows),
            "tags": pa.array(lists(rng, rows, 7, 3), pa.list_(pa.int32())),
            "price": rng.exponential(3.0, rows),
            "clicked": clicked,
            "bought": pa.array(
                [b if c else None for b, c in zip(bought, clicked, strict=True)]
            ),
        }
    )


def write_log(folder: Path | str, spec: FeatureSpec = SPEC) -> str:
    """Writes features.json and the three splits; returns `folder`."""
    return logs.write_log(folder, spec, table, {**logs.ROWS, "test": 300})
