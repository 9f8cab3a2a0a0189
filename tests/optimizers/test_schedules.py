"""The linear warm-up against its formula."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wukong_tf.optimizers import LinearWarmup


@pytest.mark.parametrize("warmup", [1, 3, 10])
def test_rises_in_equal_steps_to_the_full_rate(warmup):
    schedule = LinearWarmup(0.5, warmup)
    rates = [float(schedule(step)) for step in range(warmup + 4)]
    rising = np.linspace(0.5 / warmup, 0.5, warmup)
    np.testing.assert_allclose(rates[:warmup], rising, rtol=1e-6)
    assert rates[warmup:] == [0.5] * 4


def test_no_warmup_is_the_full_rate_at_once():
    assert [float(LinearWarmup(0.5, 0)(step)) for step in (0, 1)] == [0.5, 0.5]


@pytest.mark.parametrize("step", [2, 5_000_000_000])
def test_int64_steps_in_a_graph(step):
    schedule = LinearWarmup(0.5, 4)
    rate = tf.function(schedule)(tf.constant(step, tf.int64))
    assert rate.dtype == tf.float32
    assert float(rate) == pytest.approx(0.5 * min(1.0, (step + 1) / 4))


def test_an_optimizer_follows_it():
    variable = keras.Variable([0.0])
    optimizer = keras.optimizers.SGD(LinearWarmup(1.0, 4))
    for _ in range(6):
        optimizer.apply([keras.ops.ones(1)], [variable])
    assert float(variable.value[0]) == -(0.25 + 0.5 + 0.75 + 1.0 + 1.0 + 1.0)


def test_serialization_keeps_it():
    optimizer = keras.optimizers.SGD(LinearWarmup(0.5, 7))
    other = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    schedule = other._learning_rate
    assert isinstance(schedule, LinearWarmup)
    assert schedule.get_config() == {"learning_rate": 0.5, "warmup_steps": 7}
