"""Raw rows in, probabilities out, in whatever form the rows are held."""

import decimal
import math

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export.client.encode import fingerprint64
from tests.worlds import raw_clicks, small_models
from trainer.data.parquet import ParquetSource
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
    VectorFeature,
)
from wukong_tf.errors import DataError
from wukong_tf.features import Lookups
from wukong_tf.models import build_model
from wukong_tf.rows import raw_values

SPEC = FeatureSpec(
    (
        CategoricalFeature(
            "city", 6, raw="string", oov_buckets=2,
            vocabulary=("berlin", "東京"),
        ),
        CategoricalFeature(
            "user", 6, raw="int64", vocabulary=("259", "-7", str(2**62))
        ),
        CategoricalFeature("shop", 52, raw="string", encoded=True),
        CategoricalFeature(
            "tags", 6, table="city", raw="string", oov_buckets=2,
            pooling="mean", max_ids=3,
        ),
        CategoricalFeature(
            "seen", 6, table="user", raw="int64", pooling="sum", max_ids=2,
            weights="seen_weights",
        ),
        CategoricalFeature("age", 6, raw="float", boundaries=(18.0, 30.0)),
        CategoricalFeature("hour", 24),
    ),
    (NumericFeature("price", "log1p", mean=1.0, stddev=2.0, missing=3.0),),
    (VectorFeature("image", 2),),
    (Task("click", "label"), Task("buy", "bought", negative_rate=0.25)),
)  # fmt: skip
CITIES = ["berlin", "東京", "accra", "", None]
ROWS = [
    {
        "extra": object(),
        "city": CITIES[row % 5],
        "user": [259, -7, 2**62, 11, None, -1][row % 6],
        "shop": f"shop {row % 7}" if row % 3 else None,
        "tags": [["berlin", "x", "東京", "x"], [], None, ["", "y"]][row % 4],
        "seen": [[259], [], [11, -7, 259]][row % 3],
        "seen_weights": [[0.5], [], [1.0, 2.0, 3.0]][row % 3],
        "age": [17.99, 18.0, 64.0, math.nan, None][row % 5],
        "hour": row % 24,
        "price": [0.0, 2.5, None, -3.0][row % 4],
        "image": [row / 10, -1.0],
    }
    for row in range(37)
]  # fmt: skip
NAMES = [name for name in ROWS[0] if name != "extra"]


@pytest.fixture(scope="module")
def model():
    return small_models.make(small_models.wukong(SPEC, num_layers=1))


def id_of(text, words, oov_buckets):
    """By the rule in the docs: reserved ids, hashed ones, the vocabulary."""
    if text in words:
        return 2 + oov_buckets + words.index(text)
    return 2 + fingerprint64(text.encode()) % oov_buckets


def expected(model):
    """Probabilities, from ids that plain Python makes."""
    city = ("berlin", "東京"), 2
    user = ("259", "-7", str(2**62)), 1
    inputs = {name: [] for name in NAMES}
    for row in ROWS:
        price = row["price"]
        inputs["city"].append(id_of(row["city"], *city) if row["city"] else 1)
        known = row["user"] not in (None, -1)
        inputs["user"].append(id_of(str(row["user"]), *user) if known else 1)
        shop = row["shop"]
        inputs["shop"].append(1 if shop is None else id_of(shop, (), 50))
        tags = [id_of(tag, *city) for tag in row["tags"] or () if tag]
        inputs["tags"].append((tags + [0] * 3)[:3])
        seen = [id_of(str(item), *user) for item in row["seen"]]
        inputs["seen"].append((seen + [0] * 2)[:2])
        inputs["seen_weights"].append((row["seen_weights"] + [0.0] * 2)[:2])
        age = row["age"]
        gone = age is None or math.isnan(age)
        inputs["age"].append(1 if gone else 3 + (age >= 18) + (age >= 30))
        inputs["hour"].append(row["hour"])
        inputs["price"].append(math.nan if price is None else price)
        inputs["image"].append(row["image"])
    floats = ("seen_weights", "price", "image")
    arrays = {
        name: np.array(values, "float32" if name in floats else "int32")
        for name, values in inputs.items()
    }
    logits = model(arrays, training=False)
    found = {}
    for task, rate in (("click", 1.0), ("buy", 0.25)):
        logit = keras.ops.convert_to_numpy(logits[task])[:, 0].astype(float)
        odds = rate * np.exp(logit)  # of the whole log
        found[task] = odds / (1 + odds)
    return found


def columns(names=NAMES):
    return {name: [row[name] for row in ROWS] for name in names}


def arrow():
    return pa.table(columns())


def frame():
    """With a column of objects that Arrow cannot hold."""
    return pd.DataFrame(columns([*NAMES, "extra"]), dtype=object)


class Exported:
    """Nothing but Arrow's PyCapsule interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return arrow().__arrow_c_stream__(requested_schema)


FORMS = {
    "dict of lists": lambda: columns([*NAMES, "extra"]),
    "dict of Arrow": lambda: dict(zip(NAMES, arrow().columns, strict=True)),
    "list of dicts": lambda: ROWS,
    "table": arrow,
    "chunks": lambda: pa.concat_tables([arrow()[:9], arrow()[9:]]),
    "record batch": lambda: arrow().to_batches()[0],
    "reader": lambda: arrow().to_reader(),
    "capsule": Exported,
    "pandas": frame,
    "pandas of Arrow": lambda: arrow().to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.from_arrow(arrow()),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_ids_made_by_hand(model, form):
    found = model.predict_rows(FORMS[form](), batch_size=16)
    assert list(found) == ["click", "buy"]
    for task, want in expected(model).items():
        assert found[task].dtype == np.float32
        np.testing.assert_allclose(found[task], want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_batches_do_not_change_the_scores(model, size, monkeypatch):
    from wukong_tf.rows import scoring

    one = model.predict_rows(ROWS)
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 10)
    other = model.predict_rows(ROWS, batch_size=size)
    for task in one:
        np.testing.assert_allclose(one[task], other[task], rtol=0, atol=2e-6)


def test_no_rows_have_no_scores(model):
    for rows in (arrow()[:0], frame()[:0]):
        found = model.predict_rows(rows)
        assert {t: v.shape for t, v in found.items()} == {
            "click": (0,), "buy": (0,),
        }  # fmt: skip


@pytest.mark.parametrize(
    "name, values",
    [
        ("user", [str(r["user"] or "") for r in ROWS]),
        ("user", [r["user"] if i % 2 else str(r["user"] or "")
                  for i, r in enumerate(ROWS)]),
        ("user", np.array([str(r["user"] or "") for r in ROWS])),
        ("user", np.array([r["user"] for r in ROWS], object)),
        ("user", [None if r["user"] is None else decimal.Decimal(str(r["user"]))
                  for r in ROWS]),
        ("city", pd.Series([r["city"] for r in ROWS], dtype="category")),
        ("city", pa.array([r["city"] for r in ROWS]).dictionary_encode()),
        ("city", pa.array([r["city"] for r in ROWS], pa.string_view())),
        ("city", pa.array([r["city"] for r in ROWS], pa.large_binary())),
        ("city", pl.Series([r["city"] for r in ROWS], dtype=pl.Categorical)),
        ("hour", np.array([r["hour"] for r in ROWS], "uint8")),
        ("hour", np.array([[r["hour"]] for r in ROWS])),
        ("image", np.array([r["image"] for r in ROWS])),
        ("price", np.array([np.nan if r["price"] is None else r["price"]
                            for r in ROWS], "float16")),
        ("price", np.ma.array([[r["price"] or 0.0] for r in ROWS],
                              mask=[[r["price"] is None] for r in ROWS])),
    ],
)  # fmt: skip
def test_a_column_in_another_type_is_the_same(model, name, values):
    found = model.predict_rows({**columns(), name: values})
    for task, want in model.predict_rows(ROWS).items():
        np.testing.assert_array_equal(found[task], want)


def test_integers_stand_for_their_texts(model):
    """Of a feature of strings, as a log with integer ids has them."""
    numbers = [row % 5 for row in range(37)]
    one = model.predict_rows({**columns(), "shop": numbers})
    gaps = np.array(numbers, float)
    for texts in ([str(n) for n in numbers], np.array(numbers), gaps):
        other = model.predict_rows({**columns(), "shop": texts})
        for task in one:
            np.testing.assert_array_equal(one[task], other[task])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"hour": [*range(36), 24]}, ["row 24", "'hour'", "below 24", "24"]),
        ({"user": [1] * 36 + ["x5"]}, ["row 36", "'user'", "int64", "'x5'"]),
        ({"user": [1] * 36 + [2**63]}, ["row 36", "int64", str(2**63)]),
        ({"user": [1] * 36 + ["07"]}, ["row 36", "'user'", "'07'"]),
        ({"user": [1.5] + [1] * 36}, ["row 0", "'user'", "integer", "1.5"]),
        ({"price": [1.0] * 5 + [math.inf] * 32}, ["row 5", "2**63", "inf"]),
        ({"price": ["1"] * 37}, ["row 0", "'price'", "2**63", "'1'"]),
        ({"price": pa.array(["1"] * 37)}, ["'price'", "numbers", "string"]),
        ({"price": np.array([1.5] * 36 + [True], object)}, ["row 36", "True"]),
        ({"price": [1] * 36 + [10**400]}, ["row 36", "2**63", "inf"]),
        ({"hour": [1] * 36 + [2**63]}, ["row 36", "'hour'", str(2**63)]),
        ({"hour": [1] * 36 + [10**5000]}, ["row 36", "'hour'", "digits"]),
        ({"city": ["a"] * 36 + ["\ud83d"]}, ["row 36", "UTF-8", "'\\ud83d'"]),
        ({"image": [[1.0, 2.0]] * 36 + [[1.0]]}, ["row 36", "vector of 2"]),
        ({"image": [1.0] * 37}, ["row 0", "'image'", "vector of 2", "1.0"]),
        ({"seen": [[1, 2]] * 37}, ["'seen_weights'", "one weight for each"]),
        ({"city": ["a"] * 9 + [{}] + ["a"] * 27}, ["row 9", "'city'", "{}"]),
        ({"city": ["a"] * 36}, ["'city' has 36"]),
        ({"city": "berlin"}, ["'city'", "list of rows", "'berlin'"]),
        ({"city": np.zeros((37, 2, 2))}, ["'city'", "[37, 2, 2]"]),
    ],
)
def test_what_breaks_a_rule_is_named(model, changes, words):
    with pytest.raises(DataError) as caught:
        model.predict_rows({**columns(), **changes})
    for word in ("rows", *words):
        assert word in str(caught.value), caught.value


def test_columns_that_are_missing_are_named(model):
    for rows in (columns(["user"]), frame()[["user"]], ROWS[:0], {}):
        with pytest.raises(DataError, match="'city', .*'image' are missing"):
            model.predict_rows(rows)
    for rows in (3, frame()["user"], pl.Series([1]), pl.LazyFrame(arrow())):
        with pytest.raises(DataError, match="rows: must be a dict .*received"):
            model.predict_rows(rows)
    with pytest.raises(DataError, match="'USER ' differs from 'user'"):
        model.predict_rows(arrow().rename_columns({"user": "USER "}))
    twice = pa.table([*arrow().columns, pa.array([1] * 37)], [*NAMES, "hour"])
    with pytest.raises(DataError, match="'hour' occurs more than once"):
        model.predict_rows(twice)


@pytest.mark.parametrize(
    "column", [["259"], np.array(["259"]), np.array(["259"], object)]
)
def test_predict_points_to_it(model, column):
    with pytest.raises(DataError, match=r"'user' must .*predict_rows\(rows\)"):
        model.predict({"user": column})


def test_the_log_of_the_trainer_s_tests_is_scored(tmp_path):
    """As its files are, in which `site` is encoded already."""
    config = small_models.wukong(raw_clicks.SPEC, num_layers=1)
    model = small_models.make(config)
    table = raw_clicks.table(60, 0)
    pq.write_table(table, tmp_path / "log.parquet")
    source = ParquetSource([str(tmp_path / "log.parquet")], raw_clicks.SPEC)
    (batch,) = source.batches(60)
    inputs = {name: batch[name] for name in raw_clicks.SPEC.feature_names}
    logits = np.ravel(model.predict(inputs)["click"]).astype(float)
    rows = table.to_pandas()
    site = ("", None, "other.example", "a.com", "b.org", "c.net")
    rows["site"] = [site[each] for each in rows["site"]]
    (found,) = model.predict_rows(rows).values()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_a_missing_number_is_the_mean_as_in_a_request():
    spec = FeatureSpec(
        numeric=(
            NumericFeature("price", mean=4.0, stddev=2.0),
            NumericFeature("age", "log1p", mean=1.0, missing=3.0),
        )
    )
    model = build_model(small_models.wukong(spec, num_layers=1, rank=1))
    (found,) = model.predict_rows(
        {"price": [None, 4.0, 9.0], "age": [3.0, None, 3.0]}
    ).values()
    assert found[0] == pytest.approx(found[1], abs=1e-7)
    assert abs(found[2] - found[0]) > 1e-6


@pytest.mark.parametrize("weights", [None, []])
@pytest.mark.parametrize("bag", [None, []])
def test_bags_that_are_all_empty_are_scored(bag, weights):
    """Columns without a list come as nulls, which Arrow gives no length."""
    spec = FeatureSpec(
        (
            CategoricalFeature(
                "tags", 5, raw="string", pooling="mean", max_ids=2,
                weights="w",
            ),
            CategoricalFeature("hour", 24),
        )
    )  # fmt: skip
    config = LogisticRegressionConfig(spec, table_initial_scale=1.0)
    model = build_model(config)
    (found,) = model.predict_rows([{"tags": bag, "w": weights, "hour": 3}] * 2)[
        "click"
    ][:1]
    (weight,) = keras.ops.convert_to_numpy(model.tables[0].table)[5 + 3]
    assert found == pytest.approx(1 / (1 + math.exp(-weight)), rel=1e-6)


@pytest.mark.parametrize(
    "vocabulary", [("true", "false"), ("False", "True"), ("x", "TRUE")]
)
def test_bools_are_the_texts_that_a_vocabulary_has(vocabulary, tmp_path):
    """As of a CSV file, which pandas reads them from as bools."""
    feature = CategoricalFeature(
        "member", 6, raw="string", vocabulary=vocabulary
    )
    lookups = Lookups(FeatureSpec((feature,)), str(tmp_path))
    found = raw_values.ids(pa.array([True, None, False]), feature, lookups)
    lower = [word.lower() for word in vocabulary]
    expected = [
        feature.first_id + lower.index(text) if text in lower else 2
        for text in ("true", "false")
    ]
    assert found.to_pylist() == [expected[0], None, expected[1]]
