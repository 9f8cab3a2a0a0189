"""Resampled metrics against resampled rows, and coverage on known scores."""

import numpy as np
import pytest

from tests.metrics.test_functions import make_rows
from tests.oracles import metrics as oracles
from wukong_tf.metrics import bootstrap, exact_auc, metrics_of_rows


def two_models(rows=90, seed=0):
    """Labels, logits of two models, groups and weights."""
    labels, scores, groups, weights = make_rows(rows, seed)
    noise = np.random.default_rng(seed).normal(size=rows)
    logits = np.stack([scores, np.round(scores + noise, 1)], 1)
    return labels, logits.astype(np.float32), groups, weights + 0.25


def by_loops(labels, logits, weights, groups=None):
    rows = (labels, logits, weights)
    found = {
        "auc": oracles.auc(*rows),
        "logloss": oracles.logloss(*rows),
        "ne": oracles.normalized_entropy(*rows),
        "calibration": oracles.calibration(*rows),
    }
    if groups is not None:
        found["group_auc"] = oracles.grouped_auc(
            labels, logits, groups, weights
        )
    return found


def rows_drawn(groups, count, random):
    """Indices of the rows of one resample, and which draw each is of."""
    if groups is None:
        drawn = random.integers(count, size=count)
        return drawn, None
    values = np.unique(groups)
    drawn = random.integers(len(values), size=len(values))
    parts = [np.flatnonzero(groups == values[each]) for each in drawn]
    return np.concatenate(parts), np.repeat(
        np.arange(len(drawn)), [len(part) for part in parts]
    )


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_resample_is_scored_as_its_rows_would_be(grouped, weighted):
    labels, logits, groups, weights = two_models()
    groups = groups if grouped else None
    weights = weights if weighted else None
    found = bootstrap(labels, logits, weights, groups, resamples=4, seed=3)
    ones = np.ones(len(labels)) if weights is None else weights
    random = np.random.default_rng(3)
    for number in range(4):
        rows, of_draw = rows_drawn(groups, len(labels), random)
        for model in range(2):
            expected = by_loops(
                labels[rows], logits[rows, model], ones[rows], of_draw
            )
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                assert found[name][number, model] == pytest.approx(value), name


@pytest.mark.parametrize("grouped", [False, True])
def test_metrics_of_rows_are_those_by_definition(grouped):
    labels, logits, groups, weights = two_models()
    groups = groups if grouped else None
    found = metrics_of_rows(labels, logits[:, 1], weights, groups)
    expected = by_loops(labels, logits[:, 1], weights, groups)
    assert found == pytest.approx(expected)


def test_spread_of_a_mean_is_its_standard_error():
    """LogLoss without weights is a mean, whose error has a closed form."""
    labels, logits, _, _ = two_models(2000)
    found = bootstrap(labels, logits, resamples=600)["logloss"]
    loss = np.logaddexp(0, logits) - labels[:, None] * logits
    error = (loss[:, 1] - loss[:, 0]).std() / np.sqrt(len(labels))
    apart = found[:, 1] - found[:, 0]
    assert apart.std() == pytest.approx(error, rel=0.12)
    # Paired: both models are scored on the same rows.
    assert apart.std() < 0.9 * np.hypot(*found.std(axis=0))


def test_groups_that_repeat_their_rows_have_wider_intervals():
    labels, logits, _, _ = two_models(300)
    rows = np.repeat(np.arange(300), 4)
    one = bootstrap(labels, logits, resamples=400)
    same = bootstrap(labels[rows], logits[rows], groups=rows, resamples=400)
    naive = bootstrap(labels[rows], logits[rows], resamples=400)
    for name in ("auc", "logloss"):
        widths = [each[name][:, 0].std() for each in (one, same, naive)]
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
        assert widths[2] == pytest.approx(widths[0] / 2, rel=0.25)


def population(p, logits):
    """LogLoss and AUC of scores; rows are positive with probability p."""
    labels = np.repeat([1, 0], len(p))
    weights = np.append(p, 1 - p)
    scores = np.append(logits, logits)
    loss = np.mean(np.logaddexp(0, logits) - p * logits)
    return {"logloss": loss, "auc": exact_auc(labels, scores, weights)}


def covers(p, models, true, random, rows=300):
    """Which intervals of 90% have the true differences of two models."""
    drawn = random.integers(len(p), size=rows)
    labels = random.random(rows) < p[drawn]
    logits = np.stack([each[drawn] for each in models], 1)
    seed = int(random.integers(2**31))
    found = bootstrap(labels, logits, resamples=150, seed=seed)
    result = []
    for name, value in true.items():
        apart = found[name][:, 1] - found[name][:, 0]
        low, high = np.quantile(apart, (0.05, 0.95))
        result.append(low <= value <= high)
    return result


def test_intervals_cover_the_true_difference_as_often_as_they_say():
    random = np.random.default_rng(0)
    logits = random.normal(-1, 1, 100_000)
    p = 1 / (1 + np.exp(-logits))
    noise = random.normal(0, 0.7, (2, len(p)))
    models = (logits + noise[0], 0.7 * (logits + noise[1]) - 0.2)
    first, second = (population(p, each) for each in models)
    true = {name: second[name] - first[name] for name in first}
    covered = [covers(p, models, true, random) for _ in range(200)]
    # Four standard errors of a share of 200.
    bound = 4 * np.sqrt(0.09 / 200)
    assert (np.abs(np.mean(covered, 0) - 0.9) < bound).all()


def test_a_resample_of_one_class_has_no_auc():
    found = bootstrap([0, 1], np.zeros([2, 1]), resamples=40)
    assert np.isnan(found["auc"]).any() and not np.isnan(found["auc"]).all()
    assert not np.isnan(found["logloss"]).any()
