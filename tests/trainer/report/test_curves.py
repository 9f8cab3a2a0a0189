"""ROC, calibration bins, smoothing and the log, by second routes."""

import math

import numpy as np
import pytest

from trainer.report import curves, plots
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


@pytest.mark.parametrize("weighted", [False, True])
def test_calibration_bins_against_a_loop_over_rows(weighted):
    labels, logits, weights = some_rows(weighted=weighted)
    predicted = curves.sigmoid(logits)
    bins = curves.calibration_bins(labels, predicted, weights, 7)
    rows_of: dict[int, list[int]] = {}
    passed = 0.0
    for row in sorted(range(len(labels)), key=lambda row: predicted[row]):
        middle = (passed + weights[row] / 2) / weights.sum()
        rows_of.setdefault(int(7 * middle), []).append(row)
        passed += weights[row]
    assert len(bins.weight) == len(rows_of)
    for place, rows in enumerate(rows_of[key] for key in sorted(rows_of)):
        mass = math.fsum(weights[rows])
        observed = math.fsum((weights * labels)[rows]) / mass
        mean = math.fsum((weights * predicted)[rows]) / mass
        effective = mass**2 / math.fsum(weights[rows] ** 2)
        assert bins.weight[place] == pytest.approx(mass)
        assert bins.observed[place] == pytest.approx(observed)
        assert bins.predicted[place] == pytest.approx(mean)
        low, high = curves.wilson_interval(
            np.array(observed), np.array(effective)
        )
        assert (bins.low[place], bins.high[place]) == pytest.approx((low, high))


def test_calibration_bins_of_equal_weights_hold_equally_many_rows():
    labels, logits, weights = some_rows(rows=400)
    predicted = curves.sigmoid(logits)
    bins = curves.calibration_bins(labels, predicted, weights, 20)
    np.testing.assert_array_equal(bins.weight, np.full(20, 400 / 20))


def test_calibration_bins_do_not_split_ties_or_see_the_order():
    labels, logits, weights = some_rows(weighted=True, ties=True)
    predicted = curves.sigmoid(logits)
    order = np.random.default_rng(3).permutation(len(labels))
    bins = curves.calibration_bins(labels, predicted, weights)
    again = curves.calibration_bins(
        labels[order], predicted[order], weights[order]
    )
    assert len(bins.weight) <= len(set(predicted))
    np.testing.assert_allclose(bins.observed, again.observed)
    np.testing.assert_allclose(bins.weight, again.weight)


def test_wilson_ends_are_z_standard_errors_from_the_rate():
    rate = np.array([0.0, 0.01, 0.3, 0.5, 1.0])
    rows = np.array([5.0, 1000.0, 17.0, 2.5, 40.0])
    z = 1.7
    for end in curves.wilson_interval(rate, rows, z):
        np.testing.assert_allclose(
            (rate - end) ** 2, z**2 * end * (1 - end) / rows, atol=1e-15
        )
    low, high = curves.wilson_interval(rate, rows, z)
    assert (low <= rate).all() and (rate <= high).all() and (low < high).all()


def test_sigmoid_is_exact_in_both_tails():
    logits = np.array([-745.0, -40.0, -1.0, 0.0, 1.0, 40.0, 800.0])
    got = curves.sigmoid(logits)
    expected = [math.exp(x) / (1 + math.exp(x)) for x in logits[:-2]]
    np.testing.assert_allclose(got[:-2], expected, rtol=1e-14)
    np.testing.assert_array_equal(got[-2:], [1.0, 1.0])


@pytest.mark.parametrize("window", [1, 2, 3, 8, 99])
def test_smooth_is_the_mean_of_finite_neighbours(window):
    values = np.random.default_rng(0).normal(size=20)
    values[[4, 9, 10, 11]] = [np.inf, np.nan, np.nan, np.nan]
    got = curves.smooth(values, window)
    for place in range(20):
        first = max(0, place - window // 2)
        near = values[first : place + (window - 1) // 2 + 1]
        near = near[np.isfinite(near)]
        expected = near.mean() if len(near) else np.nan
        assert got[place] == pytest.approx(expected, nan_ok=True)


def test_log_skips_torn_lines_and_keeps_the_later_of_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 20, "kind": "train", "loss": 2}\n'
        b'{"step": 10, "kind": "train", "loss": 1}\n'
        b'{"step": 5, "kind": "tr{"step": 6, "kind": "train"}\n'
        b'[1]\n"text"\n{"kind": "train"}\n\xff\xfe\n'
        b'{"step": 20, "kind": "train", "loss": null}\n'
        b'{"step": 30, "kind": "valid", "click": {"auc": 0.75}}\n'
        b'{"step": 40, "kind": "valid", "cli'
    )
    log = curves.read_log(str(path))
    assert [r["step"] for r in log["train"]] == [10, 20]
    steps, loss = curves.series(log["train"], "loss")
    assert (list(steps), list(loss)) == ([10], [1])
    steps, auc = curves.series(log["valid"], "click", "auc")
    assert (list(steps), list(auc)) == ([30], [0.75])
    assert len(curves.series(log["valid"], "buy", "auc")[0]) == 0
    assert curves.read_log(str(tmp_path / "absent")) == {}


def test_rows_that_cannot_be_drawn_are_left_out_and_counted():
    labels = np.array([0, 1, 1, 0], "float32")
    logits = np.array([0.5, np.nan, 2, -np.inf], "float32")
    weights = np.array([1, 1, 0, 1], "float32")
    rows = Predictions(labels, logits, weights)
    got = curves.drawable(rows)
    assert [list(each) for each in got] == [[0], [0.5], [1]]
    for plot in (plots.calibration, plots.histogram):
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
