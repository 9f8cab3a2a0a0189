"""The synthetic log: addressing, laws, planted orders, attainable scores."""

import itertools

import numpy as np
import pytest

from trainer.data import block_log, synthetic
from trainer.data.block_log import BLOCK_ROWS
from trainer.data.interaction_log import InteractionLog
from trainer.data.source import steps_per_epoch
from trainer.data.synthetic import IDS, SyntheticLog
from trainer.data.synthetic_source import (
    SyntheticSource,
    expected_auc,
    expected_logloss,
)
from wukong_tf.errors import ConfigError, DataError

LOG = SyntheticLog(seed=3)
INTERACTIONS = InteractionLog(seed=3)
both = pytest.mark.parametrize(
    "log", [LOG, INTERACTIONS], ids=lambda log: type(log).__name__
)
NINE = SyntheticSource(LOG, "train", 9)


@pytest.fixture(scope="module")
def sample():
    return LOG.rows("valid", 0, 200_000)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name])


def joined(batches):
    batches = list(batches)
    return {
        name: np.concatenate([batch[name] for batch in batches])
        for name in batches[0]
    }


def auc(label, score):
    """Share of (click, no click) pairs in order, by ranks; no ties."""
    ranks = np.argsort(np.argsort(score)) + 1
    clicks = label.sum()
    wins = ranks[label == 1].sum() - clicks * (clicks + 1) / 2
    return wins / (clicks * (len(label) - clicks))


@both
def test_rows_are_the_same_however_they_are_asked_for(log):
    start, stop = BLOCK_ROWS - 100, 3 * BLOCK_ROWS + 17
    whole, probability = log.rows("train", start, stop - start)
    cuts = [start, start + 1, BLOCK_ROWS, BLOCK_ROWS + 5, 20_000]
    pieces: list = []
    for low, high in reversed(list(itertools.pairwise([*cuts, stop]))):
        block_log._block.cache_clear()
        pieces.insert(0, type(log)(3).rows("train", low, high - low))
    assert_same(joined(batch for batch, _ in pieces), whole)
    np.testing.assert_array_equal(
        np.concatenate([part for _, part in pieces]), probability
    )


@both
def test_callers_cannot_change_rows(log):
    batch, probability = log.rows("test", 5, 10)
    before = {name: column.copy() for name, column in batch.items()}
    chances = probability.copy()
    for column in (*batch.values(), probability):
        column[:] = 0
    again, same = log.rows("test", 5, 10)
    assert_same(again, before)
    np.testing.assert_array_equal(same, chances)


def test_no_rows_have_the_columns_of_some():
    none, probability = LOG.rows("test", BLOCK_ROWS, 0)
    some, _ = LOG.rows("test", BLOCK_ROWS, 2)
    assert probability.shape == (0,)
    assert_same(none, {name: column[:0] for name, column in some.items()})


@pytest.mark.parametrize("batch_size", [1000, 4096, 20_000, 50_000])
@both
def test_batches_are_the_rows_in_order(log, batch_size):
    source = SyntheticSource(log, "train", 20_500)
    for epoch in (0, 2):
        expected, _ = log.rows("train", epoch * 20_500, 20_500)
        batches = list(source.batches(batch_size, epoch=epoch))
        assert_same(joined(batches), expected)
        parts = [
            source.batches(batch_size, epoch=epoch, part=(worker, 3))
            for worker in range(3)
        ]
        assert_same(
            joined(itertools.chain(*zip(*parts, strict=True))), expected
        )
        assert len(batches) == steps_per_epoch(source, batch_size)
        assert {len(batch["label"]) for batch in batches[:-1]} <= {batch_size}


def test_batches_resume_at_a_step():
    source = SyntheticSource(LOG, "train", 10_500)
    batches = list(source.batches(1000, epoch=1))
    resumed = list(source.batches(1000, epoch=1, first_step=7))
    assert len(resumed) == len(batches) - 7
    for one, other in zip(resumed, batches[7:], strict=True):
        assert_same(one, other)
    assert not list(source.batches(1000, first_step=len(batches)))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_epochs_are_all_the_same(split):
    source = SyntheticSource(LOG, split, 3000)
    first = joined(source.batches(1000))
    assert_same(joined(source.batches(1000, epoch=4)), first)


def test_splits_epochs_and_seeds_are_independent():
    count = 50_000
    streams = [
        LOG.rows(split, start, count)[0]
        for split in ("train", "valid", "test")
        for start in (0, count)
    ]
    streams.append(SyntheticLog(4).rows("train", 0, count)[0])
    for one, other in itertools.combinations(streams, 2):
        for name in ("recency", "region", "hour"):
            correlation = np.corrcoef(one[name], other[name])[0, 1]
            assert abs(correlation) < 5 / count**0.5


def test_rows_fit_the_spec(sample):
    batch, probability = sample
    spec = SyntheticSource(LOG, "valid", 1).spec
    assert set(batch) == set(spec.columns)
    assert sum(feature.num_ids for feature in spec.categorical) >= 100_000
    for feature in spec.categorical:
        ids = batch[feature.name]
        assert ids.dtype == np.int32 and ids.shape == probability.shape
        assert ids.min() >= 0 and ids.max() < feature.num_ids
    for numeric in spec.numeric:
        values = batch[numeric.name]
        assert values.dtype == np.float32
        if numeric.transform == "log1p":
            assert values.min() >= 0
            values = np.log1p(values)
        # Five standard errors, with room for the gamma's kurtosis.
        tolerance = 5 * numeric.stddev * 2 / len(values) ** 0.5
        assert values.mean() == pytest.approx(numeric.mean, abs=tolerance)
        assert values.std() == pytest.approx(numeric.stddev, abs=tolerance)
    (vector,) = spec.vector
    content = batch[vector.name]
    assert content.shape == (len(probability), vector.size)
    assert content.dtype == np.float32
    assert set(np.unique(batch["label"])) == {0.0, 1.0}
    assert spec.group in batch


def test_ids_follow_zipfs_law(sample):
    batch, probability = sample
    count = len(probability)
    for name, (num_ids, exponent) in IDS.items():
        total = sum(float(rank) ** -exponent for rank in range(1, num_ids + 1))
        law = np.array([(rank + 1.0) ** -exponent for rank in range(num_ids)])
        law /= total
        seen = np.bincount(batch[name], minlength=num_ids)
        # The first ids one by one, and all the others together.
        head = min(20, num_ids - 1)
        law = np.append(law[:head], law[head:].sum())
        seen = np.append(seen[:head], seen[head:].sum())
        error = np.sqrt(count * law * (1 - law))
        assert (np.abs(seen - count * law) < 5 * error).all(), name


def test_content_is_the_items_own_plus_noise(sample):
    batch, _ = sample
    means = []
    for item in (0, 1):
        content = batch["content"][batch["item"] == item]
        assert content.std(axis=0) == pytest.approx(
            synthetic.CONTENT_NOISE, rel=5 / (2 * len(content)) ** 0.5
        )
        means.append(content.mean(axis=0))
    assert np.abs(means[0] - means[1]).max() > synthetic.CONTENT_NOISE


def test_labels_are_drawn_from_the_probabilities(sample):
    batch, probability = sample
    assert 0.2 < probability.mean() < 0.3
    np.testing.assert_allclose(
        probability, 1 / (1 + np.exp(-LOG.logits(batch))), rtol=1e-9
    )
    residual = batch["label"] - probability
    variance = probability * (1 - probability)
    for rows in np.array_split(np.argsort(probability), 10):
        error = variance[rows].sum() ** 0.5
        assert abs(residual[rows].sum()) < 5 * error


def test_interactions_of_orders_one_to_four_are_planted_and_no_more():
    """Mixed differences of the logit over every set of columns.

    The logit is taken at all corners between two rows; the signed sum over
    the corners of a set of columns is 0 unless they interact.
    """
    rows, _ = LOG.rows("train", 0, 1000)
    # Rows are Zipf's, so most pairs have some id in common.
    ends = {name: column[:2].copy() for name, column in rows.items()}
    for name in IDS:
        ends[name][1] = rows[name][rows[name] != rows[name][0]][0]
    names = LOG.spec.feature_names
    corners = np.array(list(itertools.product((0, 1), repeat=len(names))))
    batch = {
        name: ends[name][corners[:, axis]] for axis, name in enumerate(names)
    }
    difference = LOG.logits(batch).reshape([2] * len(names))
    for axis in range(len(names)):
        low, high = np.split(difference, 2, axis)
        difference = np.concatenate([low, high - low], axis)
    planted = {
        frozenset(np.array(names)[list(np.nonzero(corner)[0])])
        for corner in corners[np.abs(difference.ravel()) > 1e-9]
    }
    largest = [
        columns
        for columns in planted
        if not any(columns < other for other in planted)
    ]
    # A set within a larger one may owe its difference to that; these do not.
    assert {len(columns) for columns in largest} == {1, 2, 3, 4}
    assert frozenset.union(*planted) == set(names)


def test_planted_products_have_mean_zero_and_are_uncorrelated(sample):
    logits = LOG.logits(sample[0])
    variance = sum(weight**2 for weight, _ in synthetic.TERMS)
    error = (variance / len(logits)) ** 0.5
    assert logits.mean() == pytest.approx(synthetic.BIAS, abs=5 * error)
    assert logits.var() == pytest.approx(variance, rel=0.05)


def test_attainable_scores_equal_a_mean_over_all_labelings():
    probability = np.array([0.2, 0.9, 0.5, 0.2, 0.6, 0.5, 0.2, 0.05])
    right = pairs = logloss = 0.0
    for label in itertools.product((0, 1), repeat=len(probability)):
        likelihood = np.where(label, probability, 1 - probability)
        chance = likelihood.prod()
        for i, j in itertools.permutations(range(len(probability)), 2):
            if label[i] > label[j]:
                order = np.sign(probability[i] - probability[j])
                pairs += chance
                right += chance * (1 + order) / 2
        logloss += chance * -np.log(likelihood).mean()
    assert expected_auc(probability) == pytest.approx(right / pairs)
    assert expected_logloss(probability) == pytest.approx(logloss)


@both
def test_attainable_scores_equal_a_sum_over_pairs(log):
    _, probability = log.rows("test", 0, 300)
    right = pairs = 0.0
    for i, j in itertools.permutations(range(300), 2):
        weight = probability[i] * (1 - probability[j])
        pairs += weight
        right += weight * (probability[i] > probability[j])
    attainable = SyntheticSource(log, "test", 300).attainable()["click"]
    assert attainable["auc"] == pytest.approx(right / pairs)


@both
def test_attainable_scores_equal_a_mean_over_drawn_labels(log):
    count, draws = 5000, 300
    _, probability = log.rows("test", 0, count)
    generator = np.random.default_rng(0)
    scores = np.empty((draws, 2))
    for draw in range(draws):
        label = (generator.random(count) < probability).astype(float)
        likelihood = np.where(label == 1, probability, 1 - probability)
        scores[draw] = auc(label, probability), -np.log(likelihood).mean()
    error = scores.std(axis=0) / draws**0.5
    attainable = SyntheticSource(log, "test", count).attainable()["click"]
    expected = attainable["auc"], attainable["logloss"]
    assert (np.abs(scores.mean(axis=0) - expected) < 4 * error).all()
    assert 0.8 < attainable["auc"] < 0.9


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: SyntheticLog(seed=-1), "seed"),
        (lambda: SyntheticLog(seed=True), "seed"),
        (lambda: LOG.rows("eval", 0, 1), "split"),
        (lambda: LOG.rows("train", -1, 1), "start"),
        (lambda: LOG.rows("train", 0, -1), "count"),
        (lambda: SyntheticSource(LOG, "eval", 1), "split"),
        (lambda: SyntheticSource(LOG, "train", 0), "num_rows"),
        (lambda: NINE.batches(0), "batch_size"),
        (lambda: NINE.batches(1, epoch=-1), "epoch"),
        (lambda: NINE.batches(1, first_step=-1), "first_step"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ConfigError, match=named):
        call()


def test_one_row_has_no_attainable_auc():
    with pytest.raises(DataError, match="num_rows=1"):
        SyntheticSource(LOG, "test", 1).attainable()
