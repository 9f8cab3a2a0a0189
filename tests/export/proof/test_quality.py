"""The gates of smaller forms: their figures, and what they let pass."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from export.proof import quality
from export.proof.quality import Limits, Report
from export.served import signatures
from tests.oracles import metrics as oracle
from tests.worlds.served import columns, random_model
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
)
from wukong_tf.errors import ExportError

ROWS = 60
SPEC = FeatureSpec(
    categorical=(CategoricalFeature("user", 11), CategoricalFeature("item", 9)),
    numeric=(NumericFeature("age", mean=5.0, stddev=20.0),),
    tasks=(
        Task("click", "clicked", negative_rate=0.25),
        Task("buy", "bought", missing_labels=True),
    ),
    weight="importance",
)
LIMITS = Limits(0.125, 0.25, 0.5)
KEYS = {"auc": "AUC", "ne": "NE", "logit": "a logit"}


class Rows:
    """Held-out rows in memory, in two batches."""

    def __init__(self, spec=SPEC):
        random = np.random.default_rng(8)
        self.columns = columns(spec, ROWS)
        self.columns["importance"] = random.integers(1, 5, ROWS).astype("f4")
        self.columns["bought"][::5] = np.nan

    def batches(self, size):
        for part in (slice(0, 37), slice(37, ROWS)):
            yield {name: v[part] for name, v in self.columns.items()}


@pytest.fixture(scope="module")
def served():
    return signatures.ServedModel(random_model(LogisticRegressionConfig(SPEC)))


def shifted(score, row, gap):
    """A scorer whose `buy` logit is off in one row, by its user and item."""

    def other(given):
        found = dict(score(given))
        hit = (given["user"] == row["user"]) & (given["item"] == row["item"])
        found["buy"] = np.where(
            hit, found["buy"] + np.float32(gap), found["buy"]
        )
        return found

    return other


def expected(task, labels, logits, weights):
    """AUC and normalized entropy by loops over the rows with a label."""
    known = ~np.isnan(labels)
    weights = weights * np.where(labels == 0, 1 / task.negative_rate, 1.0)
    each = labels[known], logits[known], weights[known]
    return oracle.auc(*each), oracle.normalized_entropy(*each)


def test_figures_are_those_of_the_weighted_log(served):
    rows = Rows()
    full = quality.scorer_from_model(served, stored=False)
    one = {name: rows.columns[name][4] for name in ("user", "item")}
    forms = {
        "same": full,
        "up": shifted(full, one, 2.5),
        "down": shifted(full, one, -2.5),
    }
    report = quality.measure(served, forms, rows, LIMITS)
    assert (report.rows, report.limits) == (ROWS, LIMITS)
    names = served.id_inputs
    given = {name: rows.columns[name] for name in names}
    for form, score in forms.items():
        for task in SPEC.tasks:
            labels = rows.columns[task.label]
            weights = rows.columns["importance"]
            before = expected(task, labels, full(given)[task.name], weights)
            after = expected(task, labels, score(given)[task.name], weights)
            found = report.changes[form][task.name]
            gap = 2.5 if form != "same" and task.name == "buy" else 0.0
            assert found == pytest.approx(
                {
                    "auc_float32": before[0],
                    "auc": after[0],
                    "auc_change": after[0] - before[0],
                    "ne_float32": before[1],
                    "ne": after[1],
                    "ne_change": after[1] - before[1],
                    "logit_change": gap,
                },
                abs=1e-5,
            )
    # The test would not see rows that count alike.
    changes = [report.changes[form]["buy"] for form in ("up", "down")]
    assert all(abs(each["auc_change"]) > 1e-3 for each in changes)
    assert "60 held-out rows" in report.describe()
    assert report.to_dict()["changes"] == report.changes


def report(key, change):
    figures = {"auc": 0.5, "ne": 0.9, "auc_float32": 0.5, "ne_float32": 0.9}
    figures |= {"auc_change": 0.0, "ne_change": 0.0, "logit_change": 0.0}
    changed = {**figures, f"{key}_change": change}
    changes = {"small": {"click": figures, "buy": changed}, "other": {}}
    return Report(5, LIMITS, changes)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_up_to_its_limit_passes_either_way(key, sign):
    limit = getattr(LIMITS, key)
    report(key, sign * limit).check()
    for change in (
        sign * np.nextafter(limit, 1.0),
        sign * math.inf,
        math.nan,
    ):
        with pytest.raises(ExportError) as caught:
            report(key, change).check()
        text = str(caught.value)
        assert f"small, buy: the change of {KEYS[key]} is {change:.6f}" in text
        assert f"--max_{key}_change allows {limit:g}" in text
        assert text.count("allows") == 1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_form_that_gives_no_number_is_not_published(served, broken):
    full = quality.scorer_from_model(served, stored=False)

    def form(given):
        found = dict(full(given))
        found["buy"] = found["buy"].copy()
        found["buy"][1] = broken
        return found

    found = quality.measure(served, {"broken": form}, Rows(), Limits(9, 9, 9))
    with pytest.raises(ExportError, match="broken, buy: .* a logit"):
        found.check()


def test_labels_of_one_class_are_refused(served):
    rows = Rows()
    rows.columns["bought"] = np.where(rows.columns["bought"] == 1, 1, np.nan)
    with pytest.raises(ExportError, match="'buy' needs rows of both classes"):
        quality.measure(served, {}, rows, LIMITS)


def test_weights_are_one_where_there_is_no_column():
    task = Task("click", "label")
    labels, logits = np.float32([1, 0, 0, 1, 0]), np.float32([2, 1, 3, 2, 0])
    found = quality.metrics(task, labels, logits)
    want = expected(task, labels, logits, np.ones(5))
    assert (found["auc"], found["ne"]) == pytest.approx(want)


@pytest.mark.parametrize("takes", ["ids", "rows"])
def test_an_artifact_is_scored_by_what_it_takes(served, takes):
    given = {"user": np.array([1, 2]), "item": np.array([3, 4])}
    seen = []

    def score(columns):
        seen.append(columns)
        return {
            f"{task}_{kind}": np.array([place, 0.5])
            for task, place in (("click", 1.0), ("buy", 2.0))
            for kind in ("logit", "probability")
        }

    fake = SimpleNamespace(
        spec=served.spec, rows_from_ids=lambda columns: {"rows": columns}
    )
    artifact = SimpleNamespace(takes=takes, score=score)
    found = quality.scorer_from_artifact(fake, artifact)(given)
    assert {name: value[0] for name, value in found.items()} == {
        "click": 1.0,
        "buy": 2.0,
    }
    assert seen == [{"rows": given} if takes == "rows" else given]


def test_tables_are_read_as_they_are_stored():
    """Both forms of one model: the checkpoint's, and the published one."""
    spec = dataclasses.replace(SPEC, weight=None)
    model = random_model(LogisticRegressionConfig(spec))
    half = signatures.ServedModel(model, precision="float16")
    given = {name: columns(spec, 40)[name] for name in half.id_inputs}
    given = {
        name: value.astype(half.id_inputs[name].dtype.as_numpy_dtype)
        for name, value in given.items()
    }
    full = quality.scorer_from_model(
        signatures.ServedModel(model), stored=False
    )(given)
    exact = quality.scorer_from_model(half, stored=False)(given)
    small = quality.scorer_from_model(half, stored=True)(given)
    for task in ("click", "buy"):
        np.testing.assert_array_equal(exact[task], full[task])
        gap = np.abs(small[task] - full[task]).max()
        assert 1e-6 < gap < 1e-2
