"""Bins of predictions and their rates, by loops over rows."""

import math

import numpy as np
import pytest

from tests.trainer.report.test_curves import some_rows
from trainer.report import curves, reliability
from trainer.report.files import Predictions


def by_loop(probabilities, log):
    """The rows of each merged bin, lists in ascending order."""
    scale = [math.log(p) if log else p for p in probabilities]
    low, high = min(scale), max(scale)
    fewest = max(20, len(scale) // 1000)
    bins: list[list[int]] = [[] for _ in range(20)]
    for row, value in enumerate(scale):
        bins[min(int(20 * (value - low) / (high - low)), 19)].append(row)
    merged: list[list[int]] = [[]]
    for rows in bins:
        merged[-1] += rows
        if len(merged[-1]) >= fewest:
            merged.append([])
    rest = merged.pop()
    if merged:
        merged[-1] += rest
    return merged or [rest]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [7, 30, 300, 3000])
def test_bins_against_a_loop_over_rows(rows, weighted, log):
    labels, logits, weights = some_rows(rows, weighted=weighted)
    predicted = curves.sigmoid(logits)
    bins = reliability.reliability(labels, predicted, weights, log=log)
    expected = by_loop(predicted, log)
    assert bins.rows.tolist() == [len(each) for each in expected]
    for place, each in enumerate(expected):
        mass = math.fsum(weights[each])
        observed = math.fsum((weights * labels)[each]) / mass
        mean = math.fsum((weights * predicted)[each]) / mass
        effective = mass**2 / math.fsum(weights[each] ** 2)
        assert bins.observed[place] == pytest.approx(observed)
        assert bins.predicted[place] == pytest.approx(mean)
        low, high = reliability.wilson_interval(
            np.array(observed), np.array(effective)
        )
        assert (bins.low[place], bins.high[place]) == pytest.approx((low, high))
        assert bins.edges[place] <= min(predicted[each]) * (1 + 1e-9)
        assert max(predicted[each]) <= bins.edges[place + 1] * (1 + 1e-9)


def test_bins_do_not_split_ties_or_see_the_order():
    labels, logits, weights = some_rows(weighted=True, ties=True)
    predicted = curves.sigmoid(logits)
    order = np.random.default_rng(3).permutation(len(labels))
    bins = reliability.reliability(labels, predicted, weights)
    again = reliability.reliability(
        labels[order], predicted[order], weights[order]
    )
    assert len(bins.rows) <= len(set(predicted))
    np.testing.assert_allclose(bins.observed, again.observed)
    np.testing.assert_array_equal(bins.rows, again.rows)


@pytest.mark.parametrize(("shift", "log"), [(-1.0, False), (-6.0, True)])
def test_bins_are_logarithmic_where_positives_are_rare(shift, log):
    rng = np.random.default_rng(0)
    logits = rng.normal(shift, 1, 5000)
    labels = rng.random(5000) < curves.sigmoid(logits)
    rows = Predictions(labels.astype("f4"), logits.astype("f4"))
    bins, found = reliability.bins_of(rows)
    assert found == log and bins is not None
    listed = bins.to_list()
    assert sum(each["rows"] for each in listed) == 5000
    assert all(each["from"] < each["to"] for each in listed)
    # A model that is calibrated is so in nearly every bin.
    inside = [
        each["low"] <= each["predicted"] <= each["high"] for each in listed
    ]
    assert np.mean(inside) > 0.8


def test_no_rows_have_no_bins():
    nothing = np.zeros(0, "f4")
    assert reliability.bins_of(Predictions(nothing, nothing)) == (None, False)


def test_wilson_ends_are_z_standard_errors_from_the_rate():
    rate = np.array([0.0, 0.01, 0.3, 0.5, 1.0])
    rows = np.array([5.0, 1000.0, 17.0, 2.5, 40.0])
    z = 1.7
    for end in reliability.wilson_interval(rate, rows, z):
        np.testing.assert_allclose(
            (rate - end) ** 2, z**2 * end * (1 - end) / rows, atol=1e-15
        )
    low, high = reliability.wilson_interval(rate, rows, z)
    assert (low <= rate).all() and (rate <= high).all() and (low < high).all()
