"""Stable rank against the singular values of the rows."""

import keras
import numpy as np
import pytest

from tests import backends
from wukong_tf.metrics import gram, stable_rank


def by_svd(rows):
    values = np.linalg.svd(np.asarray(rows, np.float64), compute_uv=False)
    return np.sum(values**2) / values[0] ** 2


def rows_of(shape, seed=0, mean=0.0):
    random = np.random.default_rng(seed)
    scales = np.geomspace(1, 1e-3, shape[-1])
    return random.normal(mean, size=shape) * scales


@pytest.mark.parametrize("mean", [0.0, 2.0])
@pytest.mark.parametrize("shape", [(7, 5, 4), (1, 2, 6), (40, 3), (3, 1)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_that_of_the_singular_values(shape, dtype, mean):
    x = keras.ops.cast(rows_of(shape, mean=mean).astype("float32"), dtype)
    expected = by_svd(backends.numpy(x).reshape(-1, shape[-1]))
    found = backends.numpy(gram(x))
    assert found.shape == (shape[-1], shape[-1])
    assert stable_rank(found) == pytest.approx(expected, rel=1e-4)


@backends.tensorflow_only
def test_float64_stays_float64():
    x = keras.ops.convert_to_tensor(rows_of((9, 4, 8)), "float64")
    expected = by_svd(backends.numpy(x).reshape(-1, 8))
    assert stable_rank(gram(x)) == pytest.approx(expected, rel=1e-12)


def test_batches_add():
    x = rows_of((8, 3, 5)).astype("float32")
    parts = sum(backends.numpy(gram(part)) for part in (x[:3], x[3:]))
    expected = by_svd(x.reshape(-1, 5))
    assert stable_rank(parts) == pytest.approx(expected, rel=1e-5)


def test_one_direction_has_rank_one_and_equal_ones_their_number():
    direction = np.arange(1.0, 7.0)
    line = np.outer([3.0, -1.0, 0.0, 2.0], direction)
    assert stable_rank(line.T @ line) == pytest.approx(1, abs=1e-12)
    assert stable_rank(np.eye(6) * 1e-200) == 6
    assert stable_rank(np.eye(6) * 1e300) == 6


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_undefined_is_nan(value):
    assert np.isnan(stable_rank(np.full((3, 3), value)))
    rows = np.zeros((0, 4), np.float32)
    assert np.isnan(stable_rank(backends.numpy(gram(rows))))
