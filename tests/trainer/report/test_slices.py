"""Metrics by the value of a feature, by loops over the rows of a slice."""

import dataclasses

import numpy as np
import pytest

from tests.errors import assert_refused
from tests.oracles import metrics as oracles
from tests.worlds import small_models
from trainer.loop.evaluator import Scores
from trainer.report import slices
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
)

SPEC = FeatureSpec(
    (CategoricalFeature("device", 4), CategoricalFeature("user", 90)),
    (NumericFeature("price", missing=0.0), NumericFeature("day")),
)


def some_scores(rows=1500, seed=0, weighted=True):
    random = np.random.default_rng(seed)
    logits = random.normal(-0.5, 1.5, rows)
    labels = random.random(rows) < 1 / (1 + np.exp(-logits))
    price = random.exponential(3, rows).astype("f4")
    price[::50] = np.nan
    features = {
        "device": random.integers(0, 4, rows).astype("i4"),
        "user": random.integers(0, 90, rows).astype("i4"),
        "price": price,
        "day": random.integers(0, 7, rows).astype("f4"),
    }
    logits = logits + 1.5 * (features["device"] == 2)
    weights = random.integers(1, 4, rows).astype("f8") if weighted else None
    labels = labels.astype("f4")
    return Scores(labels, logits.astype("f4"), weights, None, features)


def by_loop(scores, mine):
    weights = np.ones(len(mine)) if scores.weights is None else scores.weights
    labels, logits = scores.labels[mine], scores.logits[mine]
    weights = weights[mine]
    ratio = oracles.calibration(labels, logits, weights)
    rest = labels - 1 / (1 + np.exp(-logits.astype(float)))
    error = np.sqrt(sum((weights * rest) ** 2)) / sum(weights * labels)
    return {
        "rows": mine.sum(),
        "positives": labels.sum(),
        "auc": oracles.auc(labels, logits, weights),
        "calibration": ratio,
        "calibration_low": ratio * np.exp(-1.96 * error),
        "calibration_high": ratio * np.exp(1.96 * error),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_each_slice_has_the_metrics_of_its_rows(weighted):
    scores = some_scores(400, weighted=weighted)
    found = slices.by_value(SPEC, ["device", "day"], {"click": scores})
    for name in ("device", "day"):
        table = found["features"][name]["click"]
        assert table["slices"] == len(table["largest"])
        for row in table["largest"]:
            mine = scores.features[name] == float(row.pop("value"))
            assert row == pytest.approx(by_loop(scores, mine), rel=1e-5)


def test_many_numbers_become_ten_ranges_of_equally_many_rows():
    scores = some_scores()
    found = slices.by_value(SPEC, ["price"], {"click": scores})
    *ranges, missing = found["features"]["price"]["click"]["largest"]
    price = scores.features["price"]
    assert missing["value"] == "missing"
    assert missing["rows"] == np.isnan(price).sum() == 30
    assert len(ranges) == 10
    assert {row["rows"] for row in ranges} == {147}
    for row in ranges:
        low, high = map(float, row["value"].split(" to "))
        assert 140 <= np.sum((price >= low) & (price < high)) <= 154


def test_of_many_values_the_most_frequent_are_listed():
    scores = some_scores()
    found = slices.by_value(SPEC, ["user"], {"click": scores})
    table = found["features"]["user"]["click"]
    counts = np.bincount(scores.features["user"])
    assert table["slices"] == 90 and len(table["largest"]) == 24
    rows = [row["rows"] for row in table["largest"]]
    assert rows == sorted(counts, reverse=True)[:24]


def test_the_worst_is_the_slice_that_is_predicted_wrong():
    scores = some_scores()
    names = ["device", "user", "day"]
    found = slices.by_value(SPEC, names, {"click": scores})
    worst = found["worst"]["click"]
    assert (worst[0]["feature"], worst[0]["value"]) == ("device", "2")
    assert worst[0]["calibration_low"] > 1.2
    for row in worst:  # no user has a hundred rows
        assert row["rows"] >= found["enough_rows"] == 100
        ends = row["calibration_low"], row["calibration_high"]
        assert ends[0] > 1 or ends[1] < 1
    fair = dataclasses.replace(
        scores,
        logits=scores.logits - 1.5 * (scores.features["device"] == 2),
    )
    worst = slices.by_value(SPEC, ["device"], {"click": fair})["worst"]
    assert len(worst["click"]) <= 1


@pytest.mark.parametrize(
    "feature, texts",
    [
        (CategoricalFeature("a", 9), {0: "0", 7: "7"}),
        (
            CategoricalFeature(
                "a", 7, raw="string", vocabulary=("x", "y"), oov_buckets=2
            ),
            {
                1: "missing", 2: "out of vocabulary, id 2",
                3: "out of vocabulary, id 3", 4: "x", 5: "y",
                6: "out of vocabulary, id 6",
            },
        ),
        (
            CategoricalFeature("a", 9, raw="int64"),
            {1: "missing", 2: "hash, id 2"},
        ),
        (
            CategoricalFeature("a", 6, raw="float", boundaries=(0.5, 2.0)),
            {1: "missing", 3: "below 0.5", 4: "0.5 to 2", 5: "at least 2"},
        ),
    ],
)  # fmt: skip
def test_ids_are_named_by_their_values(feature, texts):
    spec = FeatureSpec((feature,))
    for id, text in texts.items():
        assert slices.value_of(spec, feature, id) == text


@pytest.mark.parametrize("name", ["nobody", "content", "seen"])
def test_only_features_of_one_value_can_be_sliced(name):
    spec = small_models.RICH
    slices.check(spec, ["user", "city", "price"])
    assert_refused(
        lambda: slices.check(spec, ["user", name]),
        "--slices",
        repr(name),
        "'user'",
    )
