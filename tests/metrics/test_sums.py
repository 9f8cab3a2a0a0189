"""The sums, and the metrics of them, against loops over rows and pairs."""

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import metrics as oracles
from wukong_tf.metrics import (
    AUC_BINS,
    binary_sums,
    exact_auc,
    of_sums,
    zero_sums,
)


def make_rows(rows=150, seed=0, weighted=True):
    """Labels, logits and weights; some weights are 0, some logits tie."""
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(size=rows) * 2, 1).astype(np.float32)
    labels = random.random(rows) < 1 / (1 + np.exp(-logits))
    weights = random.integers(0, 5, rows) if weighted else np.ones(rows)
    return labels.astype(np.float32), logits, weights.astype(np.float32)


def added(parts):
    """Sums of several batches."""
    total = {name: value.numpy() for name, value in zero_sums().items()}
    for part in parts:
        assert part.keys() == total.keys()
        for name, value in part.items():
            total[name] = total[name] + value.numpy()
    return total


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_the_sums_equal_the_definitions(weighted, compiled):
    labels, logits, weights = make_rows(weighted=weighted)
    function = tf.function(binary_sums) if compiled else binary_sums
    sums = function(labels, logits, weights if weighted else None)
    found = of_sums({name: value.numpy() for name, value in sums.items()})
    rows = (labels, logits.astype(np.float64), weights)
    assert found == {
        "auc": pytest.approx(oracles.auc(*rows), rel=1e-12),
        "logloss": pytest.approx(oracles.logloss(*rows), rel=1e-12),
        "ne": pytest.approx(oracles.normalized_entropy(*rows), rel=1e-12),
        "calibration": pytest.approx(oracles.calibration(*rows), rel=1e-12),
        "base_rate": pytest.approx(np.average(labels, weights=weights)),
        "rows": len(labels),
    }


def test_whole_weights_count_as_repeated_rows():
    labels, logits, weights = make_rows()
    times = weights.astype(int)
    repeated = binary_sums(np.repeat(labels, times), np.repeat(logits, times))
    weighted = binary_sums(labels, logits, weights)
    for name in weighted.keys() - {"rows"}:
        np.testing.assert_allclose(weighted[name], repeated[name], rtol=1e-12)
    assert weighted["rows"] == len(labels)


@pytest.mark.parametrize("splits", [[], [75], [1, 1, 149], [20, 90, 140]])
def test_splitting_rows_changes_nothing(splits):
    columns = make_rows()
    parts = zip(*(np.split(column, splits) for column in columns), strict=True)
    split = added([binary_sums(*part) for part in parts])
    whole = added([binary_sums(*columns)])
    for name in ("negative_bins", "positive_bins", "rows", "weight", "label"):
        np.testing.assert_array_equal(split[name], whole[name])
    for name in ("loss", "prediction"):
        assert split[name] == pytest.approx(whole[name], rel=1e-13)


def test_the_order_of_rows_changes_nothing():
    columns = make_rows()
    order = np.random.default_rng(0).permutation(len(columns[0]))
    one = of_sums(added([binary_sums(*columns)]))
    other = of_sums(added([binary_sums(*(c[order] for c in columns))]))
    assert one == pytest.approx(other, rel=1e-13)


def test_all_sums_are_float64():
    for sums in (zero_sums(), binary_sums(*make_rows(4))):
        assert {value.dtype for value in sums.values()} == {tf.float64}
        assert sums["negative_bins"].shape == (AUC_BINS,)
    for bfloat in (tf.bfloat16, tf.float16):
        logits = tf.constant([0.5, -1.0], bfloat)
        sums = binary_sums(tf.constant([1.0, 0.0]), logits)
        expected = np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1.0))
        assert sums["loss"].numpy() == pytest.approx(expected, rel=1e-12)


def test_a_row_counts_beside_many():
    """A float32 sum would lose the last row's weight of 1."""
    many = 2.0**24
    sums = binary_sums([1.0, 1.0, 0.0], [5.0, 5.0, 5.0], [many, 1.0, 1.0])
    assert sums["weight"].numpy() == many + 2
    assert sums["label"].numpy() == many + 1
    assert sums["positive_bins"].numpy().sum() == many + 1


def test_no_rows_are_the_zero_sums():
    empty = binary_sums(np.zeros(0), np.zeros(0))
    for name, value in zero_sums().items():
        np.testing.assert_array_equal(empty[name], value)
    found = of_sums(added([]))
    assert found.pop("rows") == 0
    assert found and np.isnan(list(found.values())).all()


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_rows_of_one_class(label):
    labels, logits, weights = make_rows()
    labels = np.full_like(labels, label)
    found = of_sums(added([binary_sums(labels, logits, weights)]))
    rows = (labels, logits.astype(np.float64), weights)
    assert np.isnan(found["auc"])
    assert np.isnan(found["ne"])
    assert found["logloss"] == pytest.approx(oracles.logloss(*rows))
    assert found["base_rate"] == label
    if label:
        assert found["calibration"] == pytest.approx(oracles.calibration(*rows))
    else:
        assert np.isnan(found["calibration"])


def test_rows_of_weight_zero_are_no_rows():
    labels, logits, weights = make_rows()
    found = of_sums(added([binary_sums(labels, logits, 0 * weights)]))
    assert found.pop("rows") == len(labels)
    assert np.isnan(list(found.values())).all()


@pytest.mark.parametrize("shift", [0.0, -6.0])
def test_binned_auc_is_as_exact_at_a_low_base_rate(shift):
    random = np.random.default_rng(0)
    logits = (random.normal(size=200_000) + shift).astype(np.float32)
    labels = random.random(len(logits)) < 1 / (1 + np.exp(-logits))
    sums = added([binary_sums(labels, logits)])
    rate = labels.mean()
    assert rate < 0.006 if shift else rate > 0.4
    negative, positive = sums["negative_bins"], sums["positive_bins"]
    # Only pairs within a bin can be counted wrong, by half of each.
    bound = 0.5 * np.sum(negative * positive)
    bound /= negative.sum() * positive.sum()
    error = abs(of_sums(sums)["auc"] - exact_auc(labels, logits))
    assert 0 < error <= bound < 1e-4
    assert error < 2e-6


def test_few_bins_keep_the_bound_too():
    labels, logits, weights = make_rows(2000)
    sums = binary_sums(labels, logits, weights, bins=64)
    sums = {name: value.numpy() for name, value in sums.items()}
    assert sums["negative_bins"].shape == (64,)
    negative, positive = sums["negative_bins"], sums["positive_bins"]
    bound = 0.5 * np.sum(negative * positive)
    bound /= negative.sum() * positive.sum()
    error = abs(of_sums(sums)["auc"] - exact_auc(labels, logits, weights))
    assert 0 < error <= bound


def test_bins_follow_the_order_of_logits():
    logits = np.array([-1e30, -16.1, -15.9, -1e-3, 0, 1e-3, 15.9, 16.1, 1e30])
    places = [
        int(np.flatnonzero(binary_sums([1.0], [logit])["positive_bins"])[0])
        for logit in logits
    ]
    assert places == sorted(places)
    assert places[:2] == [0, 0] and places[-2:] == [AUC_BINS - 1] * 2
    assert len(set(places[1:-1])) == 7


@pytest.mark.parametrize("logit", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_logit_that_is_no_number_shows_in_the_loss(label, logit):
    found = of_sums(added([binary_sums([label, 1.0], [logit, 0.0])]))
    assert not np.isfinite(found["logloss"])


def test_every_bin_holds_its_own_logits():
    """Those beyond the limit are in the outer bins, and no others."""
    bins = 8  # of a width of 4
    logits = [-1e30, -17.0, -15.9, -12.1, -11.9, -8.1, -0.1, 0.0, 3.9, 4.0]
    logits += [11.9, 12.1, 15.9, 16.0, 1e30]
    places = [0, 0, 0, 0, 1, 1, 3, 4, 4, 5, 6, 7, 7, 7, 7]
    weights = 2.0 ** np.arange(len(logits))
    for label in (0.0, 1.0):
        labels = np.full(len(logits), label)
        sums = binary_sums(labels, np.array(logits), weights, bins)
        want = np.bincount(places, weights, bins)
        one, other = "negative_bins", "positive_bins"
        if label:
            one, other = other, one
        np.testing.assert_array_equal(sums[one], want)
        np.testing.assert_array_equal(sums[other], np.zeros(bins))
