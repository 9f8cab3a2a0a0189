"""The loss of several tasks, missing labels and sampled negatives."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiers
from tests.docstrings import documented_defaults
from tests.worlds import small_models
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.steps import (
    global_loss,
    make_eval_step,
    make_score_step,
    make_train_step,
)
from wukong_tf.config import FactorizationMachineConfig, Task
from wukong_tf.metrics import of_sums
from wukong_tf.models import build_model
from wukong_tf.optimizers import OptimizerGroups, RowwiseAdagrad
from wukong_tf.optimizers.groups import TABLES

NAN = float("nan")
RATE = 0.3  # of which 1 / RATE is no whole number
SPEC = dataclasses.replace(
    small_models.SPEC,
    tasks=(
        Task("click", "clicked", loss_weight=2.0),
        Task("buy", "bought", missing_labels=True, negative_rate=RATE),
    ),
    weight="importance",
)
BATCH = {
    "clicked": np.array([1, 0, 0, 1], np.float32),
    "bought": np.array([1, NAN, NAN, 0], np.float32),
    "importance": np.array([1, 2, 0, 3], np.float32),
    GLOBAL_ROWS: np.array(8, np.float32),
}
LOGITS = {
    "click": np.array([[0.5], [-1.0], [7.0], [2.0]], np.float32),
    "buy": np.array([[1.5], [3.0], [-3.0], [-0.5]], np.float32),
}


def cross_entropy(label, logit):
    return np.logaddexp(0.0, logit) - label * logit


def test_the_loss_is_the_weighted_sum_over_rows_with_a_label():
    batch = {name: tf.constant(value) for name, value in BATCH.items()}
    logits = {name: tf.constant(value) for name, value in LOGITS.items()}
    expected = 2.0 * (
        1 * cross_entropy(1, 0.5)
        + 2 * cross_entropy(0, -1.0)
        + 3 * cross_entropy(1, 2.0)
    )
    expected += 1 * cross_entropy(1, 1.5) + 3 * cross_entropy(0, -0.5)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = global_loss(SPEC, logits, batch)
    assert float(loss) == pytest.approx(expected / 8, rel=1e-6)
    gradients = tape.gradient(loss, logits)
    sigmoid = 1 / (1 + np.exp(-LOGITS["buy"][:, 0].astype(np.float64)))
    np.testing.assert_allclose(
        gradients["buy"][:, 0],
        [(sigmoid[0] - 1) / 8, 0, 0, 3 * sigmoid[3] / 8],
        rtol=1e-5,
    )
    np.testing.assert_array_equal(gradients["click"][2], [0.0])


class Fixed(keras.layers.Layer):
    """Stands in for a model: its logits are given."""

    def __init__(self, model):
        super().__init__()
        self.config = model.config
        self.served_logits = model.served_logits

    def call(self, inputs, training=None):
        del inputs, training
        return {name: tf.constant(value) for name, value in LOGITS.items()}


def test_metrics_are_those_of_the_log_before_it_was_sampled():
    """A negative row of `buy` stands for 1 / RATE; its odds are RATE."""
    model = build_model(FactorizationMachineConfig(SPEC))
    batch = {name: tf.constant(value) for name, value in BATCH.items()}
    inputs = small_models.inputs(4)
    batch |= {name: tf.constant(value) for name, value in inputs.items()}
    rates = {"click": 1.0, "buy": RATE}
    sums, logits = make_eval_step(Fixed(model), rates)(batch)
    corrected = LOGITS["buy"][:, 0] + np.log(RATE)
    np.testing.assert_allclose(logits["buy"], corrected, rtol=1e-6)
    np.testing.assert_array_equal(logits["click"], LOGITS["click"][:, 0])
    metrics = of_sums({k: v.numpy() for k, v in sums["buy"].items()})
    losses = cross_entropy(np.array([1, 0]), corrected[[0, 3]])
    weights = np.array([1.0, 3 / RATE])
    assert metrics["rows"] == 2
    assert metrics["base_rate"] == pytest.approx(1 / (1 + 3 / RATE))
    assert metrics["logloss"] == pytest.approx(
        np.average(losses, weights=weights), rel=1e-6
    )
    p = 1 / (1 + np.exp(-corrected[[0, 3]]))
    assert metrics["calibration"] == pytest.approx(weights @ p, rel=1e-6)


def test_a_model_of_sampled_rows_is_calibrated_for_the_whole_log():
    """Logits fit to the sample, corrected, add up to the log's positives."""
    rng = np.random.default_rng(0)
    rows, rate = 400_000, 0.1
    true = -3.0 + rng.normal(size=rows)
    label = rng.random(rows) < 1 / (1 + np.exp(-true))
    kept = label | (rng.random(rows) < rate)
    # What a perfect model of the kept rows gives: Bayes' rule.
    fit = (true - np.log(rate))[kept].astype(np.float32)
    spec = dataclasses.replace(
        small_models.SPEC, tasks=(Task(negative_rate=rate),)
    )
    model = build_model(FactorizationMachineConfig(spec))
    served = model.served_logits({"click": tf.constant(fit)})["click"].numpy()
    labels = label[kept]
    weights = np.where(labels, 1.0, 1 / rate)

    def calibration(logits):
        p = 1 / (1 + np.exp(-logits.astype(np.float64)))
        return weights @ p / labels.sum()

    # Positives are a sum of coins: five standard deviations of their share.
    spread = 5 / np.sqrt(labels.sum())
    assert calibration(served) == pytest.approx(1.0, abs=spread)
    assert calibration(fit) > 3


@pytest.mark.parametrize("rows", tiers.first([32, 7, 2]))
def test_parts_of_a_batch_take_the_step_of_the_whole(rows):
    """Of sizes that differ, and of no rows."""
    config = FactorizationMachineConfig(small_models.SPEC)
    batch = small_models.inputs(rows)
    batch |= {"label": small_models.labels(rows), GLOBAL_ROWS: np.float32(rows)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    results = []
    for parts in (1, 3):
        model = small_models.make(config)
        groups = OptimizerGroups(
            model.trainable_variables,
            {
                "tables": (RowwiseAdagrad(0.1, l2=0.1), TABLES),
                "dense": (keras.optimizers.SGD(0.1), None),
            },
        )
        groups.build()
        step = make_train_step(
            model, groups, negative_rates={"click": 1.0}, parts=parts
        )
        steps = [tf.function(step)(batch) for _ in range(3)]
        results.append(
            (
                [float(loss) for loss, _ in steps],
                [np.asarray(sums) for _, sums in steps],
                [np.asarray(weight) for weight in model.trainable_weights],
            )
        )
    for one, other in zip(*results, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", tiers.first(["float32", "mixed_bfloat16"]))
def test_compiling_and_computing_again_take_the_same_step(dtype):
    config = small_models.wukong(num_layers=3)
    batch = small_models.inputs(32)
    batch |= {"label": small_models.labels(32), GLOBAL_ROWS: np.float32(32)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    found = []
    for kwargs, jit in (({}, False), ({}, True), ({"remat": True}, False)):
        model = small_models.make(config, dtype=dtype, **kwargs)
        groups = OptimizerGroups(
            model.trainable_variables,
            {
                "tables": (RowwiseAdagrad(0.1), TABLES),
                "dense": (keras.optimizers.SGD(0.1), None),
            },
        )
        groups.build()
        step = tf.function(make_train_step(model, groups, jit_compile=jit))
        losses = [float(step(batch)) for _ in range(3)]
        weights = [np.asarray(v, np.float32) for v in model.trainable_weights]
        found.append((losses, weights))
    tolerance = 1e-4 if dtype == "float32" else 0.05
    for losses, weights in found[1:]:
        np.testing.assert_allclose(losses, found[0][0], rtol=tolerance)
        if dtype != "float32":
            continue  # a rounding apart, single weights part ways
        for one, other in zip(weights, found[0][1], strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def test_what_drops_out_in_training_is_scored_whole():
    model = small_models.make(small_models.wukong(dropout=0.5))
    batch = small_models.inputs(8)
    batch |= {"label": small_models.labels(8), GLOBAL_ROWS: np.float32(8)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    inputs = {name: batch[name] for name in model.config.features.feature_names}
    want = model(inputs, training=False)["click"][:, 0]
    other = model(inputs, training=True)["click"][:, 0]
    assert np.abs(other - want).max() > 1e-3  # it does drop out
    np.testing.assert_allclose(make_score_step(model)(batch)["click"], want)
    _, logits = make_eval_step(model, {"click": 1.0})(batch)
    np.testing.assert_allclose(logits["click"], want)


def test_documented_defaults_of_a_step():
    documented = documented_defaults(make_train_step)
    arguments = inspect.signature(make_train_step).parameters
    assert documented.keys() == {
        *("jit_compile", "negative_rates", "clock", "parts"),
    }
    for name, value in documented.items():
        assert arguments[name].default is value
