"""Optimizers of the dense part against their papers' equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.optimizers import Adam
from wukong_tf.errors import ConfigError
from wukong_tf.optimizers import OptimizerGroups, dense_optimizer

RATE, DECAY, STEPS = 0.05, 0.3, 6


def start():
    random = np.random.default_rng(0)
    return random.normal(size=(4, 3)), random.normal(size=3)


def gradients(step):
    random = np.random.default_rng(1 + step)
    return random.normal(size=(4, 3)), random.normal(size=3)


def trained(name, weight_decay=DECAY):
    """The optimizer, kernel and bias after some steps."""
    kernel, bias = (
        keras.Variable(value, dtype="float32", name=name)
        for value, name in zip(start(), ("kernel", "bias"), strict=True)
    )
    optimizer = dense_optimizer(name, RATE, weight_decay=weight_decay)
    groups = OptimizerGroups([kernel, bias], {"dense": (optimizer, None)})
    groups.build()
    for step in range(STEPS):
        groups.apply([tf.constant(g, tf.float32) for g in gradients(step)])
    return groups, np.asarray(kernel), np.asarray(bias)


def adam(index, decay):
    value, oracle = [start()[index]], Adam(RATE)
    for step in range(STEPS):
        value[0] = value[0] * (1 - RATE * decay)
        oracle.step(value, [gradients(step)[index]])
    return value[0]


def lion(index, decay):
    value, moment = start()[index], 0.0
    for step in range(STEPS):
        gradient = gradients(step)[index]
        value = value * (1 - RATE * decay)
        value -= RATE * np.sign(0.9 * moment + 0.1 * gradient)
        moment = 0.99 * moment + 0.01 * gradient
    return value


def muon(decay):
    """Singular values are moved by the quintic; singular vectors stay."""
    value, moment = start()[0], 0.0
    for step in range(STEPS):
        gradient = gradients(step)[0]
        value = value * (1 - RATE * decay)
        moment = 0.95 * moment + gradient
        left, sizes, right = np.linalg.svd(
            gradient + 0.95 * moment, full_matrices=False
        )
        sizes = sizes / (np.linalg.norm(sizes) + 1e-7)
        for _ in range(5):
            sizes = 3.4445 * sizes - 4.775 * sizes**3 + 2.0315 * sizes**5
        value -= RATE * 0.2 * np.sqrt(4) * left @ np.diag(sizes) @ right
    return value


def test_adam_with_decay_is_adamw():
    """Biases are not decayed."""
    _, kernel, bias = trained("adam")
    np.testing.assert_allclose(kernel, adam(0, DECAY), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, adam(1, 0.0), rtol=1e-4, atol=1e-6)


def test_lion():
    _, kernel, bias = trained("lion")
    np.testing.assert_allclose(kernel, lion(0, DECAY), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, lion(1, 0.0), rtol=1e-4, atol=1e-6)


def test_muon_orthogonalizes_matrices():
    """Everything else is AdamW's, in which nothing is decayed here."""
    _, kernel, bias = trained("muon")
    np.testing.assert_allclose(kernel, muon(DECAY), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, adam(1, 0.0), rtol=1e-4, atol=1e-6)


def schedule_free(index):
    """(weights at which gradients are taken, averages, z)."""
    x = y = z = start()[index]
    second = 0.0
    for step in range(STEPS):
        gradient = gradients(step)[index]
        second = 0.999 * second + 0.001 * gradient**2
        corrected = second / (1 - 0.999 ** (step + 1))
        z = z - RATE * gradient / (np.sqrt(corrected) + 1e-8)
        x = x + (z - x) / (step + 1)
        y = 0.1 * z + 0.9 * x
    return y, x, z


def test_schedule_free_evaluates_its_averages():
    groups, *weights = trained("schedule_free", weight_decay=0.0)
    assert groups.average is not None
    for index, weight in enumerate(weights):
        y, x, _ = schedule_free(index)
        np.testing.assert_allclose(weight, y, rtol=1e-4, atol=1e-6)
        average = np.asarray(groups.average.averages[index])
        np.testing.assert_allclose(average, x, rtol=1e-4, atol=1e-6)
        assert np.abs(x - y).max() > 1e-3
    # As a warm start does: new weights, from which all sequences begin.
    for variable in groups.variables["dense"]:
        variable.assign(keras.ops.ones_like(variable))
    groups.average.restart()
    groups.apply([keras.ops.zeros((4, 3)), keras.ops.zeros(3)])
    for variable, average in groups.average.pairs():
        np.testing.assert_allclose(np.asarray(variable), 1.0, rtol=1e-6)
        np.testing.assert_allclose(np.asarray(average), 1.0, rtol=1e-6)


@pytest.mark.parametrize("name", ["adam", "lion", "muon", "schedule_free"])
def test_two_replicas_take_the_step_of_one(two_replicas, name):
    for replica in ("first", "second"):
        np.testing.assert_allclose(
            two_replicas[f"{replica}/{name}"],
            two_replicas[f"one/{name}"],
            rtol=2e-5,
            atol=1e-6,
        )


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="`name` must be one of"):
        dense_optimizer("sgd", 0.1)
    with pytest.raises(ConfigError, match="`weight_decay` must be 0"):
        dense_optimizer("schedule_free", 0.1, weight_decay=0.1)
