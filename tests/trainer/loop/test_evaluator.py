"""An evaluation's metrics, by definition, over all rows of a split."""

import contextlib
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import metrics as oracle
from tests.worlds import small_models
from trainer.data.source import part_of
from trainer.distribution.strategies import ONE, Distribution
from trainer.distribution.workers import Workers
from trainer.loop.evaluator import Evaluator, Interrupted
from wukong_tf.config import FactorizationMachineConfig, Task
from wukong_tf.errors import DataError
from wukong_tf.features import encode
from wukong_tf.models import build_model

ROWS = 25
SPEC = dataclasses.replace(
    small_models.SPEC,
    tasks=(
        Task("click", "clicked"),
        Task("buy", "bought", missing_labels=True, negative_rate=0.25),
    ),
    weight="importance",
    group="session",
)
PLAIN = dataclasses.replace(SPEC, weight=None, group=None)


class Rows:
    """A split in memory."""

    lanes = 1

    def __init__(self, spec=SPEC, fails=None):
        random = np.random.default_rng(5)
        self.spec, self.num_rows, self.fails = spec, ROWS, fails
        self.columns = small_models.inputs(ROWS, 3)
        self.columns |= {
            "clicked": random.integers(0, 2, ROWS).astype(np.float32),
            "bought": random.integers(0, 2, ROWS).astype(np.float32),
            "importance": random.integers(1, 4, ROWS).astype(np.float32),
            "session": random.integers(0, 3, ROWS),
        }
        self.columns["bought"][::4] = np.nan
        left_out = {"importance", "session"} - {spec.weight, spec.group}
        for name in left_out:
            del self.columns[name]

    def batches(self, size, *, epoch=0, first_step=0, part=(0, 1)):
        for start in range(first_step * size, ROWS, size):
            if self.fails:
                raise self.fails
            stop = min(start + size, ROWS)
            first, past = part_of(stop - start, part)
            yield {
                name: value[start + first : start + past]
                for name, value in self.columns.items()
            }


@pytest.fixture(scope="module")
def models():
    made = {}
    for spec in (SPEC, PLAIN):
        model = build_model(FactorizationMachineConfig(spec))
        random = np.random.default_rng(1)
        for weight in model.weights:
            weight.assign(random.normal(size=weight.shape) / 4)
        made[spec] = model
    return made


def evaluator(models, spec=SPEC, batch_size=8, **options):
    strategy = tf.distribute.get_strategy()
    where = Distribution(strategy, Workers(strategy), ONE, "")
    return Evaluator(where, models[spec], batch_size, **options)


def logits_of(model, rows):
    """Logits as served, of all rows at once."""
    columns = {name: rows.columns[name] for name in SPEC.feature_names}
    inputs = encode(SPEC, columns)
    served = model.served_logits(model(inputs, training=False))
    return {name: np.asarray(v)[:, 0] for name, v in served.items()}


def expected(model, rows, rates):
    """The metrics of each task, by loops."""
    found = {}
    for task, logits in logits_of(model, rows).items():
        labels = rows.columns["clicked" if task == "click" else "bought"]
        weights = rows.columns.get("importance", np.ones(ROWS))
        weights = weights * np.where(labels == 0, 1 / rates[task], 1.0)
        known = ~np.isnan(labels)
        each = (labels[known], logits[known], weights[known])
        found[task] = {
            "auc": oracle.auc(*each),
            "logloss": oracle.logloss(*each),
            "ne": oracle.normalized_entropy(*each),
            "calibration": oracle.calibration(*each),
            "rows": known.sum(),
        }
        if "session" in rows.columns:
            groups = rows.columns["session"][known]
            found[task]["group_auc"] = oracle.grouped_auc(
                each[0], each[1], groups, each[2]
            )
    return found


@pytest.mark.parametrize(
    "spec, exact, batch_size",
    [(SPEC, False, 8), (SPEC, True, 25), (PLAIN, False, 25), (PLAIN, True, 8)],
)
def test_metrics_are_those_of_all_rows_with_a_label(
    models, spec, exact, batch_size
):
    rows = Rows(spec)
    made = evaluator(models, spec, batch_size)
    found, scores = made.evaluate(rows, exact=exact)
    want = expected(models[spec], rows, {"click": 1.0, "buy": 0.25})
    for task, values in want.items():
        for name, value in values.items():
            # Two logits in one bin count half.
            close = 1e-2 if name == "auc" and not exact else 1e-5
            assert found[task][name] == pytest.approx(value, rel=close), name
    assert ("group_auc" in found["buy"]) == (spec is SPEC)
    # What each row counts, where it is kept.
    assert bool(scores) == (exact or spec is SPEC)
    if not scores:
        return
    labels = rows.columns["bought"]
    known = ~np.isnan(labels)
    logits = logits_of(models[spec], rows)
    buy = scores["buy"]
    np.testing.assert_array_equal(buy.labels, labels[known])
    np.testing.assert_allclose(buy.logits, logits["buy"][known], rtol=1e-5)
    weights = rows.columns.get("importance", np.ones(ROWS))
    weights = np.where(labels == 0, 4.0, 1.0) * weights
    np.testing.assert_allclose(buy.weights, weights[known])
    click = scores["click"]
    assert len(click.labels) == ROWS
    if spec is SPEC:
        np.testing.assert_array_equal(
            buy.groups, rows.columns["session"][known]
        )
        np.testing.assert_allclose(click.weights, rows.columns["importance"])
    else:
        assert buy.groups is None and click.weights is None


@pytest.mark.parametrize("spec", [SPEC, PLAIN])
def test_features_are_kept_for_the_rows_with_a_label(models, spec):
    rows, made = Rows(spec), evaluator(models, spec)
    names = ("item", "price")
    _, scores = made.evaluate(rows, features=names)
    known = {"click": slice(None), "buy": ~np.isnan(rows.columns["bought"])}
    for task, mine in known.items():
        assert scores[task].features.keys() == set(names)
        for name in names:
            np.testing.assert_array_equal(
                scores[task].features[name], rows.columns[name][mine]
            )


def test_a_rate_of_the_rows_stands_for_those_of_the_tasks(models):
    rows = Rows()
    made = evaluator(models, negative_rate=0.5)
    assert made.negative_rates == {"click": 0.5, "buy": 0.5}
    found, _ = made.evaluate(rows)
    want = expected(models[SPEC], rows, made.negative_rates)
    for task, values in want.items():
        assert found[task]["logloss"] == pytest.approx(values["logloss"])


def test_scores_are_those_of_each_row_in_order(models):
    """Without a label, a weight or a group."""
    rows = Rows()
    for name in ("clicked", "bought", "importance", "session"):
        del rows.columns[name]
    batches = list(evaluator(models).score(rows))
    assert [len(batch["buy"]) for batch in batches] == [8, 8, 8, 1]
    for task, want in logits_of(models[SPEC], rows).items():
        found = np.concatenate([batch[task] for batch in batches])
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_other_weights_can_be_evaluated(models):
    made, rows = evaluator(models), Rows()
    before, _ = made.evaluate(rows)
    entered = []

    @contextlib.contextmanager
    def zeros():
        entered.append(True)
        values = [weight.numpy() for weight in models[SPEC].weights]
        for weight in models[SPEC].weights:
            weight.assign(np.zeros(weight.shape))
        yield
        for weight, value in zip(models[SPEC].weights, values, strict=True):
            weight.assign(value)

    made.weights = zeros
    found, _ = made.evaluate(rows)
    assert entered and found["click"]["logloss"] == pytest.approx(np.log(2))
    made.weights = contextlib.nullcontext
    again, _ = made.evaluate(rows)
    assert again["click"]["logloss"] == before["click"]["logloss"]


def test_a_stop_is_asked_for_before_every_batch(models):
    answers = iter([False, False, True])
    made = evaluator(models, should_stop=lambda: next(answers))
    with pytest.raises(Interrupted):
        made.evaluate(Rows())
    assert next(answers, None) is None


def test_what_reading_raised_is_raised(models):
    with pytest.raises(DataError, match="file and row"):
        evaluator(models).evaluate(Rows(fails=DataError("file and row")))
