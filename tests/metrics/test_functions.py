"""Exact and grouped AUC against loops over pairs and groups."""

import numpy as np
import pytest

from tests.oracles import metrics as oracles
from wukong_tf.metrics import (
    auc_of_bins,
    exact_auc,
    grouped_auc,
    sampled_weights,
)


def make_rows(rows=120, seed=0, ties=True):
    """Labels, scores, groups and weights, some of them 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    scores = labels + random.normal(size=rows)
    if ties:
        scores = np.round(scores * 2) / 2
    groups = random.integers(-4, 20, rows) * 10**12
    weights = random.integers(0, 4, rows) * random.random(rows)
    return labels, scores.astype(np.float32), groups, weights


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_exact_auc_equals_counting_pairs(seed, ties, weighted):
    labels, scores, _, weights = make_rows(seed=seed, ties=ties)
    ones = np.ones(len(labels))
    found = exact_auc(labels, scores, weights if weighted else None)
    pairs = oracles.auc(labels, scores, weights if weighted else ones)
    assert found == pytest.approx(pairs, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_grouped_auc_equals_the_loop_over_groups(seed, weighted):
    labels, scores, groups, weights = make_rows(seed=seed)
    ones = np.ones(len(labels))
    found = grouped_auc(labels, scores, groups, weights if weighted else None)
    loop = oracles.grouped_auc(
        labels, scores, groups, weights if weighted else ones
    )
    assert found == pytest.approx(loop, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sampled_negative_counts_as_often_as_it_stood_in_the_log(weighted):
    labels, scores, _, weights = make_rows()
    labels, weights = labels.astype(float), weights if weighted else None
    times = np.where(labels == 0, 4, 1)  # one of four negatives was kept
    log = [
        None if column is None else np.repeat(column, times)
        for column in (labels, scores, weights)
    ]
    sampled = sampled_weights(labels, weights, 0.25)
    assert exact_auc(labels, scores, sampled) == pytest.approx(exact_auc(*log))
    ones = np.ones(len(labels)) if weights is None else weights
    assert sum(sampled) == pytest.approx(sum(times * ones))
    assert sampled_weights(labels, weights, 1.0) is weights


def test_groups_of_one_class_do_not_count():
    labels = [1, 0, 1, 1, 0, 0, 1]
    scores = [3, 1, 0, 5, 2, 9, 0]
    groups = [1, 1, 2, 2, 3, 4, 4]  # group 1 is right, group 4 wrong
    assert grouped_auc(labels, scores, groups) == pytest.approx(0.5)
    weights = [3, 3, 1, 1, 1, 1, 1]
    assert grouped_auc(labels, scores, groups, weights) == pytest.approx(
        6 / (6 + 2)
    )


def test_one_group_is_the_auc():
    labels, scores, _, weights = make_rows()
    one = grouped_auc(labels, scores, np.zeros(len(labels)), weights)
    assert one == pytest.approx(exact_auc(labels, scores, weights), rel=1e-12)


def test_a_group_is_told_by_its_score_not_by_that_of_another():
    """Equal scores on the border of two groups are two bins."""
    labels, scores = [0, 1, 0, 1], [5.0, 5.0, 5.0, 5.0]
    assert grouped_auc(labels, scores, [1, 1, 2, 2]) == 0.5
    labels, scores = [0, 1, 0, 1], [1.0, 5.0, 5.0, 7.0]
    assert grouped_auc(labels, scores, [1, 1, 2, 2]) == 1.0


def test_a_monotone_score_keeps_the_auc():
    labels, scores, _, weights = make_rows()
    one = exact_auc(labels, scores, weights)
    assert exact_auc(labels, np.exp(scores), weights) == one
    assert exact_auc(labels, -scores, weights) == pytest.approx(1 - one)


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_no_auc_without_both_classes(labels):
    scores = list(range(len(labels)))
    assert np.isnan(exact_auc(labels, scores))
    assert np.isnan(grouped_auc(labels, scores, [0] * len(labels)))


def test_no_auc_where_a_class_has_no_weight():
    assert np.isnan(exact_auc([0, 1], [1, 2], [1, 0]))
    assert np.isnan(grouped_auc([0, 1], [1, 2], [7, 7], [0, 1]))


def test_auc_of_bins_by_pairs():
    negative, positive = np.array([3.0, 0.0, 2.0]), np.array([1.0, 4.0, 0.5])
    won = sum(
        positive[i] * negative[j] * (1.0 if i > j else 0.5)
        for i in range(3)
        for j in range(i + 1)
    )
    pairs = negative.sum() * positive.sum()
    assert auc_of_bins(negative, positive) == pytest.approx(won / pairs)
    assert np.isnan(auc_of_bins(0 * negative, positive))


def test_large_counts_stay_exact():
    """Sums beyond float32's 2^24, as of a day's rows."""
    rows = 2.0**26
    assert auc_of_bins([rows, 1.0], [0.0, rows]) == pytest.approx(
        (rows * rows + 0.5 * rows) / ((rows + 1.0) * rows), rel=1e-15
    )
