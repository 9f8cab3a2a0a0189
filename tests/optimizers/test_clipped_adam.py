"""ClippedAdam against float64 Adam and clipping."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import two_replicas as replicas
from tests.oracles.optimizers import Adam, clip_by_global_norm
from wukong_tf.optimizers import ClippedAdam

SHAPES = ((3, 2), (4,), (1,))


def make(seed):
    random = np.random.default_rng(seed)
    return [random.normal(size=s).astype(np.float32) for s in SHAPES]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("limit", [None, 0.7, 1e6])
def test_steps_equal_the_oracle(limit, compiled):
    variables = [keras.Variable(value) for value in make(0)]
    optimizer = ClippedAdam(0.05, global_clipnorm=limit)
    optimizer.build(variables)
    oracle = Adam(0.05)
    reference = [value.astype(np.float64) for value in make(0)]

    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    if compiled:
        step = tf.function(step)
    for seed in range(1, 8):
        gradients = make(seed)
        step(*[tf.constant(gradient) for gradient in gradients])
        exact = [gradient.astype(np.float64) for gradient in gradients]
        if limit:
            exact = clip_by_global_norm(exact, limit)
        oracle.step(reference, exact)
    for mine, theirs in zip(variables, reference, strict=True):
        np.testing.assert_allclose(
            np.asarray(mine), theirs, rtol=2e-5, atol=1e-6
        )


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_the_first_moment_sees_gradients_clipped_together(limit):
    """One factor for all variables: it keeps the gradient's direction."""
    variables = [keras.Variable(value) for value in make(0)]
    optimizer = ClippedAdam(global_clipnorm=limit, beta_1=0.0)
    gradients = make(1)
    norm = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    assert 0.5 < norm < 100.0
    optimizer.apply([tf.constant(each) for each in gradients], variables)
    factor = min(1.0, limit / norm)
    for index, gradient in enumerate(gradients):
        np.testing.assert_allclose(
            np.asarray(optimizer._momentums[index]),
            factor * gradient,
            rtol=1e-5,
        )


def test_config_round_trip():
    one = ClippedAdam(0.25, beta_1=0.5, global_clipnorm=3.0)
    other = keras.optimizers.deserialize(keras.optimizers.serialize(one))
    assert isinstance(other, ClippedAdam)
    assert other.get_config() == one.get_config()
    assert other.global_clipnorm == 3.0


@pytest.mark.slow
def test_two_replicas_clip_the_summed_gradient(two_replicas):
    def train(clipped):
        value = [replicas.start()[1].astype(np.float64)]
        oracle = Adam(0.05)
        batches = zip(replicas.batches(), replicas.SPLITS, strict=True)
        for (_, _, gradients), first in batches:
            rows = gradients.astype(np.float64)
            oracle.step(value, [clipped(rows, first)])
        return value[0]

    def of_sum(rows, first):
        return clip_by_global_norm([rows.sum(0)], replicas.CLIPNORM)[0]

    def of_each(rows, first):
        parts = [rows[:first].sum(0), rows[first:].sum(0)]
        return sum(
            clip_by_global_norm([part], replicas.CLIPNORM)[0]
            for part in parts
            if part.any()
        )

    assert np.abs(train(of_sum) - train(of_each)).max() > 0.01
    for where in ("one", "first", "second"):
        np.testing.assert_allclose(
            two_replicas[f"{where}/dense"], train(of_sum), rtol=2e-5, atol=1e-6
        )
    np.testing.assert_array_equal(
        two_replicas["first/dense"], two_replicas["second/dense"]
    )
