"""LinearCompressBlock: W X, no bias, the variance of its input."""

import keras
import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import LinearCompressBlock

CASES = (
    harness.Case(
        "compress",
        LinearCompressBlock,
        {"num_embeddings": 3},
        (4, 7, 5),
        blocks.linear_compress,
    ),
    harness.Case(
        "expand",
        LinearCompressBlock,
        {
            "num_embeddings": 9,
            "kernel_initializer": keras.initializers.HeUniform(seed=3),
        },
        (2, 4, 6),
        blocks.linear_compress,
    ),
    harness.Case(
        "bias",
        LinearCompressBlock,
        {"num_embeddings": 3, "use_bias": True},
        (4, 7, 5),
        blocks.linear_compress,
    ),
)


def test_has_a_kernel_and_no_bias():
    layer = CASES[0].make()
    assert harness.shapes(layer) == {"kernel": (7, 3)}
    zero = layer(np.zeros((2, 7, 5), "float32"))
    np.testing.assert_array_equal(zero, np.zeros((2, 3, 5)))


@pytest.mark.parametrize("rows", [16, 1024])
def test_keeps_the_variance_of_its_input(rows):
    """A fan-in taken from the rows out would be off by 64 for rows=16.

    Each of the rows out has the variance |w|^2, which strays from 1 by
    sqrt(2 / 1024); the mean over 16 rows and the sample by under 2 %.
    """
    x = harness.random_input(64, 1024, 16)
    y = LinearCompressBlock(rows)(x)
    assert np.var(backends.numpy(y)) == pytest.approx(np.var(x), rel=0.06)


def test_the_initializer_given_fills_the_kernel():
    layer = LinearCompressBlock(2, kernel_initializer="ones")
    x = harness.random_input(3, 5, 4)
    total = np.sum(x, axis=1, keepdims=True)
    np.testing.assert_allclose(
        layer(x), np.repeat(total, 2, axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None])
def test_refuses_a_bad_number_of_embeddings(value):
    harness.assert_refused(
        lambda: LinearCompressBlock(value),
        "LinearCompressBlock",
        f"num_embeddings={value!r}",
    )


@pytest.mark.parametrize(
    "shape", [(4,), (3, 4, 5), (None, 4), (4, None), (None, None)]
)
def test_refuses_a_bad_input_shape(shape):
    with pytest.raises(ValueError) as error:
        LinearCompressBlock(2)(keras.Input(shape))
    assert str((None, *shape)) in str(error.value)
    assert "LinearCompressBlock" in str(error.value)


@backends.tensorflow_only
def test_builds_from_a_shape_of_tensorflow():
    import tensorflow as tf

    layer = LinearCompressBlock(2)
    layer.build(tf.TensorShape((None, 4, 5)))
    assert harness.shapes(layer) == {"kernel": (4, 2)}


def test_refuses_the_shapes_of_several_inputs():
    shapes = [(None, 4, 5)] * 3
    with pytest.raises(ValueError, match="must have shape"):
        LinearCompressBlock(2).build(shapes)


def test_arguments_after_the_first_are_keyword_only():
    with pytest.raises(TypeError):
        LinearCompressBlock(2, "ones")
