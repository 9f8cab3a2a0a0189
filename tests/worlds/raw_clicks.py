"""A small log of raw values: strings, 64-bit ids, bags, gaps."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.worlds import logs
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature

CITIES = ("berlin", "são paulo", "東京", "accra")
ITEMS = tuple(str(10**12 + 7 * number) for number in range(20))
SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature(
            "city", 8, raw="string", vocabulary=CITIES, oov_buckets=2
        ),
        CategoricalFeature("user", 60, raw="int64"),
        CategoricalFeature("item", 23, raw="int64", vocabulary=ITEMS),
        CategoricalFeature(
            "seen",
            23,
            table="item",
            raw="int64",
            pooling="mean",
            max_ids=3,
            weights="seen_weights",
        ),
        CategoricalFeature("words", 40, raw="string", pooling="sum", max_ids=4),
        CategoricalFeature("age", 7, raw="float", boundaries=(18, 30, 65)),
        CategoricalFeature(
            "site",
            6,
            raw="string",
            vocabulary=("a.com", "b.org", "c.net"),
            encoded=True,
        ),
        CategoricalFeature("hour", 24),
    ),
    numeric=(
        NumericFeature("price", "log1p", clip_min=0.0, missing=1.0),
        NumericFeature("rank", mean=3.0, stddev=2.0),
    ),
)


def table(rows: int, seed: int) -> pa.Table:
    """Returns random rows with clicks that depend on city and item."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 6, rows)
    item = rng.integers(0, 20, rows)
    names = [*CITIES, "unheard of", None]
    logit = 2 * np.sin(city) + 2 * np.cos(3.0 * item)
    bags = [rng.integers(0, 20, n) for n in rng.integers(0, 4, rows)]
    price = rng.exponential(3.0, rows) - 0.5
    return pa.table(
        {
            "city": pa.array([names[each] for each in city]),
            "user": rng.integers(0, 2**60, 40)[rng.integers(0, 40, rows)],
            "item": pa.array([int(ITEMS[each]) for each in item]),
            "seen": pa.array(
                [[int(ITEMS[each]) for each in bag] for bag in bags],
                pa.list_(pa.int64()),
            ),
            "seen_weights": pa.array(
                [rng.random(len(bag)) for bag in bags], pa.list_(pa.float32())
            ),
            "words": pa.array(
                [[f"w{each}" for each in bag] for bag in bags],
                pa.list_(pa.string()),
            ),
            "age": pa.array(
                np.where(rng.random(rows) < 0.2, np.nan, rng.random(rows) * 90),
                from_pandas=True,
            ),
            "site": rng.integers(1, 6, rows),
            "hour": rng.integers(0, 24, rows),
            "price": pa.array(
                np.where(rng.random(rows) < 0.2, np.nan, price),
                from_pandas=True,
            ),
            "rank": rng.integers(0, 9, rows).astype(np.float64),
            "label": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(
                np.int8
            ),
        }
    )


def write_log(folder: Path | str) -> str:
    """Writes features.json and the three splits; returns `folder`."""
    return logs.write_log(folder, SPEC, table)
