"""Learning-rate schedules against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wukong_tf.errors import ConfigError
from wukong_tf.optimizers import LinearWarmup, WarmupDecay


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


@pytest.mark.parametrize("decay", ["linear", "cosine"])
@pytest.mark.parametrize("warmup, end, final", [(0, 10, 0.0), (4, 12, 0.1)])
def test_decay_after_warmup(decay, warmup, end, final):
    schedule = WarmupDecay(0.5, warmup, end, decay, final)
    rates = [float(schedule(step)) for step in range(end + 5)]
    for step, rate in enumerate(rates):
        if step < warmup:
            expected = 0.5 * (step + 1) / warmup
        else:
            left = max(0.0, (end - step) / (end - warmup))
            if decay == "cosine":
                left = np.sin(np.pi / 2 * left) ** 2
            expected = 0.5 * (final + (1 - final) * left)
        assert rate == pytest.approx(expected, rel=1e-5, abs=1e-8), step
    assert max(rates) == rates[warmup] == pytest.approx(0.5)
    rate = tf.function(schedule)(tf.constant(end - 1, tf.int64))
    assert float(rate) == pytest.approx(rates[end - 1], rel=1e-5)


def test_decay_is_serialized_and_checked():
    schedule = WarmupDecay(0.5, 2, 9, "linear", 0.2)
    optimizer = keras.optimizers.SGD(schedule)
    other = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert other._learning_rate.get_config() == schedule.get_config()
    with pytest.raises(ConfigError, match="`decay_steps` must be at least 4"):
        WarmupDecay(0.5, 3, 3)
    with pytest.raises(ConfigError, match="`decay` must be one of"):
        WarmupDecay(0.5, 3, 9, "step")
