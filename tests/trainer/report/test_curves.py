"""ROC and gain curves, by second routes."""

import math

import numpy as np
import pytest

from trainer.report import curves, plots, reliability
from trainer.report.files import Predictions
from wukong_tf.errors import DataError


def some_rows(rows=300, seed=0, weighted=False, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1, 1.5, rows)
    labels = rng.random(rows) < curves.sigmoid(logits)
    if ties:
        logits = np.round(logits)
    weights = rng.uniform(0.1, 3, rows) if weighted else np.ones(rows)
    return labels.astype(float), logits, weights


def trapezoid_area(x, y):
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_roc_area_is_the_share_of_pairs_in_order(weighted, ties):
    labels, logits, weights = some_rows(weighted=weighted, ties=ties)
    fpr, tpr = curves.roc_curve(labels, logits, weights)
    up, down = labels == 1, labels == 0
    wins = np.sign(logits[up][:, None] - logits[down][None]) / 2 + 0.5
    pairs = weights[up][:, None] * weights[down][None]
    expected = (wins * pairs).sum() / pairs.sum()
    assert trapezoid_area(fpr, tpr) == pytest.approx(expected, abs=1e-12)


def test_roc_points_are_the_rates_at_every_threshold():
    labels, logits, weights = some_rows(rows=60, weighted=True, ties=True)
    fpr, tpr = curves.roc_curve(labels, logits, weights)
    thresholds = sorted(set(logits), reverse=True)
    expected = [(0.0, 0.0)]
    for threshold in thresholds:
        passed = weights * (logits >= threshold)
        expected.append(
            (
                sum(passed * (1 - labels)) / sum(weights * (1 - labels)),
                sum(passed * labels) / sum(weights * labels),
            )
        )
    np.testing.assert_allclose(np.stack([fpr, tpr], 1), expected, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_gain_is_the_share_of_positives_above_every_threshold(weighted):
    labels, logits, weights = some_rows(60, weighted=weighted, ties=True)
    rows, gain = curves.gain_curve(labels, logits, weights)
    expected = [(0.0, 0.0)]
    for threshold in sorted(set(logits), reverse=True):
        above = weights * (logits >= threshold)
        positive = sum(above * labels) / sum(weights * labels)
        expected.append((sum(above) / sum(weights), positive))
    np.testing.assert_allclose(np.stack([rows, gain], 1), expected, atol=1e-12)


def test_gain_and_auc_say_the_same():
    """Area under gain is rate / 2 + (1 - rate) AUC, as both count pairs."""
    labels, logits, weights = some_rows(weighted=True, ties=True)
    area = trapezoid_area(*curves.gain_curve(labels, logits, weights))
    auc = trapezoid_area(*curves.roc_curve(labels, logits, weights))
    rate = np.average(labels, weights=weights)
    assert area == pytest.approx(rate / 2 + (1 - rate) * auc, rel=1e-12)


def test_the_table_of_gains_counts_the_highest_scores():
    labels, logits, _ = some_rows(rows=1000)
    rows = Predictions(labels.astype("f4"), logits.astype("f4"))
    table = curves.gain_table(rows)
    assert [each["rows"] for each in table] == list(curves.GAIN_SHARES)
    best = labels[np.argsort(-logits)]
    for each in table:
        count = round(1000 * each["rows"])
        assert each["gain"] == pytest.approx(best[:count].sum() / best.sum())
        assert each["lift"] == pytest.approx(best[:count].mean() / best.mean())
    none = Predictions(np.zeros(3, "f4"), np.zeros(3, "f4"))
    assert curves.gain_table(none) == []


def test_the_table_of_the_roc_has_points_of_the_curve():
    labels, logits, _ = some_rows(rows=1000)
    logits = logits.astype("f4")
    table = curves.roc_table(Predictions(labels.astype("f4"), logits))
    rates = [
        [np.mean(logits[labels == label] >= each) for label in (0, 1)]
        for each in logits
    ]
    points = list(zip(*table.values(), strict=True))
    assert points[0] == (0, 0) and points[-1] == (1, 1)
    for point in points[1:]:
        assert np.abs(np.array(rates) - point).max(axis=1).min() < 1e-9
    assert 50 < len(table["true_positive_rate"]) <= 101
    one_class = Predictions(np.ones(3, "f4"), np.zeros(3, "f4"))
    assert [*curves.roc_table(one_class).values()] == [[], []]


def test_thinned_roc_keeps_its_ends_and_stays_on_the_curve():
    labels, logits, weights = some_rows(rows=5000)
    fpr, tpr = curves.roc_curve(labels, logits, weights)
    x, y = curves.thin_curve(fpr, tpr, 200)
    assert len(x) <= 200
    assert set(zip(x, y, strict=True)) <= set(zip(fpr, tpr, strict=True))
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    # Along a monotonic curve of length 2, neighbours are at most a stop
    # apart, plus the step of one row onto the curve.
    row = 1 / labels.sum() + 1 / (1 - labels).sum()
    assert np.diff(x + y).max() <= 2 / 199 + row
    same = curves.thin_curve(fpr, tpr, len(fpr))
    np.testing.assert_array_equal(same[0], fpr)


def test_sigmoid_is_exact_in_both_tails():
    logits = np.array([-745.0, -40.0, -1.0, 0.0, 1.0, 40.0, 800.0])
    got = curves.sigmoid(logits)
    expected = [math.exp(x) / (1 + math.exp(x)) for x in logits[:-2]]
    np.testing.assert_allclose(got[:-2], expected, rtol=1e-14)
    np.testing.assert_array_equal(got[-2:], [1.0, 1.0])


def test_rows_that_cannot_be_drawn_are_left_out_and_counted():
    labels = np.array([0, 1, 1, 0], "float32")
    logits = np.array([0.5, np.nan, 2, -np.inf], "float32")
    weights = np.array([1, 1, 0, 1], "float32")
    rows = Predictions(labels, logits, weights)
    got = curves.drawable(rows)
    assert [list(each) for each in got] == [[0], [0.5], [1]]
    for plot in (reliability.plot, plots.gain, plots.histogram):
        assert "Omitted: 2 rows" in plot(rows, "click", "test").caption


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (([0.0, 1.0], [[1.0], [2.0]]), "`logits`.*(2, 1)"),
        (([0.0, 1.0, 1.0], [1.0, 2.0]), "`labels`.*(2,).*(3,)"),
        (([0.0, 0.5], [1.0, 2.0]), "`labels`.*0 or 1.*0.5"),
        (([0.0, np.nan], [1.0, 2.0]), "`labels`.*0 or 1.*nan"),
        (([0.0, 1.0], [1.0, 2.0], [1.0]), "`weights`.*(2,).*(1,)"),
        (([0.0, 1.0], [1.0, 2.0], [1.0, -2.0]), "`weights`.*-2.0"),
        (([0.0, 1.0], [1.0, 2.0], [1.0, np.inf]), "`weights`.*inf"),
    ],
)
def test_bad_predictions_are_refused(arrays, words):
    words = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(DataError, match=words):
        Predictions(*(np.array(each) for each in arrays))
