"""Permutation importance, by scoring permuted rows one copy at a time."""

import dataclasses

import numpy as np
import pytest

from tests.oracles import metrics as oracles
from tests.trainer.loop.test_evaluator import (
    SPEC,
    Rows,
    evaluator,
    logits_of,
    models,
)
from tests.worlds import small_models
from trainer.data.source import generator, part_of
from trainer.report import importance

__all__ = ["models"]  # the fixture
RICH = small_models.RICH


def test_all_inputs_of_a_feature_go_together():
    inputs = importance.inputs_of(RICH)
    assert list(inputs) == [feature.name for feature in RICH.all_features]
    assert inputs["tags"] == ("tags", "tag_weights")
    assert inputs["seen"] == ("seen",) and inputs["content"] == ("content",)
    shared = dataclasses.replace(RICH.categorical[2], weights="tag_weights")
    shared = dataclasses.replace(shared, max_ids=3)
    both = (*RICH.categorical[:2], shared, *RICH.categorical[3:])
    inputs = importance.inputs_of(dataclasses.replace(RICH, categorical=both))
    assert inputs["seen, tags"] == ("seen", "tags", "tag_weights")
    assert len(inputs) == len(RICH.all_features) - 1


@pytest.mark.parametrize("batch_size", [1, 4, 10, 1000])
@pytest.mark.parametrize("parts", [1, 3])
def test_copies_are_the_rows_with_one_feature_permuted(batch_size, parts):
    rows = small_models.inputs(10, spec=RICH)
    permuted = importance.Permuted(RICH, rows, repeats=2)
    shares = [
        list(permuted.batches(batch_size, first_step=1, part=(n, parts)))
        for n in range(parts)
    ]
    batches = [next(permuted.batches(batch_size))]
    for step in zip(*shares, strict=True):
        count = sum(len(share["item"]) for share in step)
        for number, share in enumerate(step):
            first, past = part_of(count, (number, parts))
            assert len(share["item"]) == past - first
        batches += step
    whole = {
        name: np.concatenate([batch[name] for batch in batches])
        for name in RICH.feature_names
    }
    features = importance.inputs_of(RICH)
    assert len(whole["item"]) == permuted.num_rows == 10 * (1 + 2 * 10)
    for copy in range(1 + 2 * len(features)):
        mine = {n: v[10 * copy : 10 * copy + 10] for n, v in whole.items()}
        moved = list(features.values())[(copy - 1) // 2] if copy else ()
        orders = set()
        for name, values in mine.items():
            if name not in moved:
                np.testing.assert_array_equal(values, rows[name])
                continue
            order = generator((copy - 1) // 2, (copy - 1) % 2).permutation(10)
            np.testing.assert_array_equal(values, rows[name][order])
            orders.add(tuple(order))
        assert len(orders) == (copy > 0)


def test_importance_is_the_loss_that_permuting_adds(models):
    rows = Rows()
    model = models[SPEC]
    measured = importance.measure(evaluator(models), rows, 99, repeats=4)
    assert measured["rows"] == len(rows.columns["clicked"])
    assert measured["repeats"] == 4
    before = logits_of(model, rows)
    for task, found in measured["tasks"].items():
        labels = rows.columns["clicked" if task == "click" else "bought"]
        known = np.flatnonzero(~np.isnan(labels))
        rate = {"click": 1.0, "buy": 0.25}[task]
        weights = rows.columns["importance"] / np.where(labels == 0, rate, 1.0)
        names = list(importance.inputs_of(SPEC))
        means = [each["mean"] for each in found]
        assert means == sorted(means, reverse=True) and means[0] > 0
        for each in found:
            place = names.index(each["feature"])
            per_row = np.zeros(len(labels))
            for repeat in range(4):
                other = Rows()
                order = generator(place, repeat).permutation(len(labels))
                name = each["feature"]
                other.columns[name] = rows.columns[name][order]
                after = logits_of(model, other)
                for row in known:
                    one = (labels[[row]], [1.0])
                    per_row[row] += (
                        oracles.logloss(one[0], after[task][[row]], one[1])
                        - oracles.logloss(one[0], before[task][[row]], one[1])
                    ) / 4
            mass = weights[known]
            mean = np.average(per_row[known], weights=mass)
            error = np.sqrt(sum((mass * (per_row[known] - mean)) ** 2))
            assert each["mean"] == pytest.approx(mean, abs=1e-6)
            assert each["error"] == pytest.approx(error / sum(mass), abs=1e-6)


def test_a_feature_of_one_value_has_no_importance(models):
    rows = Rows()
    rows.columns["shop"] = np.zeros_like(rows.columns["shop"])  # all alike
    measured = importance.measure(evaluator(models), rows, 99)
    for found in measured["tasks"].values():
        (shop,) = (each for each in found if each["feature"] == "shop")
        assert abs(shop["mean"]) < 1e-7 and shop["error"] < 1e-7


def test_the_error_is_the_spread_over_samples_of_rows():
    random = np.random.default_rng(0)
    samples = random.exponential(size=[2000, 400])
    weights = random.integers(1, 4, 400).astype(float)
    means = [importance._weighted_mean(row, weights) for row in samples]
    spread = np.std([each["mean"] for each in means])
    errors = np.mean([each["error"] for each in means])
    assert errors == pytest.approx(spread, rel=0.05)


def test_short_runs_are_measured_on_fewer_rows():
    features = len(importance.inputs_of(SPEC))
    for trained in (0, 1000, 10**6, 10**9):
        rows = importance.rows_by_default(SPEC, trained)
        assert 512 <= rows <= 8192
        if rows > 512:
            assert rows * features * importance.REPEATS <= trained / 4
    assert importance.rows_by_default(SPEC, 10**9) == 8192
