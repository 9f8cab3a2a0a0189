"""MLP: ReLU inside, nothing on its output."""

import functools

import keras
import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import MLP


def tanh_mlp(x, weights):
    hidden = np.tanh(x @ weights["dense_0/kernel"])
    return hidden @ weights["dense_1/kernel"]


CASES = (
    harness.Case("two_hidden", MLP, {"units": (6, 5, 3)}, (4, 7), blocks.mlp),
    harness.Case("no_hidden", MLP, {"units": [4]}, (3, 5), blocks.mlp),
    harness.Case(
        "rows", MLP, {"units": (6, 2), "dropout": 0.5}, (2, 3, 4), blocks.mlp
    ),
    harness.Case(
        "every_argument",
        MLP,
        {
            "units": (8, 3),
            "activation": "tanh",
            "dropout": 0.25,
            "kernel_initializer": keras.initializers.GlorotNormal(seed=3),
            "output_initializer": keras.initializers.RandomUniform(-0.5, 0.5),
            "use_bias": False,
        },
        (4, 5),
        tanh_mlp,
    ),
    harness.Case(
        "gated",
        MLP,
        {"units": (6, 5, 3), "activation": "silu", "glu": True},
        (4, 7),
        functools.partial(blocks.mlp, hidden=blocks.swiglu),
    ),
)


def test_relu_is_inside_and_not_on_the_output():
    mlp = MLP((1, 1))
    mlp.build((None, 1))
    one, zero = np.ones((1, 1)), np.zeros(1)
    mlp.set_weights([one, zero, -one, zero])
    y = mlp(np.array([[-2.0], [0.0], [3.0]], "float32"))  # -max(0, x)
    np.testing.assert_array_equal(y, [[0.0], [0.0], [-3.0]])


def test_a_single_layer_is_affine():
    mlp = MLP((3,))
    x, z = harness.random_input(2, 4, 5)
    middle = mlp(0.5 * (x + z))
    np.testing.assert_allclose(
        middle, 0.5 * (mlp(x) + mlp(z)), rtol=1e-4, atol=1e-6
    )


def test_no_batch_normalization():
    """A row's output in training does not hang on the rows beside it."""
    mlp = MLP((8, 3))
    x = harness.random_input(6, 5)
    alone = mlp(x[:1], training=True)
    np.testing.assert_allclose(
        mlp(x, training=True)[:1], alone, rtol=1e-5, atol=1e-6
    )
    assert set(harness.shapes(mlp)) == {
        "dense_0/kernel",
        "dense_0/bias",
        "dense_1/kernel",
        "dense_1/bias",
    }
    assert not mlp.non_trainable_weights


def test_dropout_is_for_training_alone():
    """With hidden units of 1, the output is the kept share over 1 - rate."""
    mlp = MLP((4000, 1), dropout=0.25)
    mlp.build((None, 2))
    mlp.set_weights(
        [
            np.zeros((2, 4000)),
            np.ones(4000),
            np.full((4000, 1), 1 / 4000),
            np.zeros(1),
        ]
    )
    x = harness.random_input(5, 2)
    np.testing.assert_allclose(mlp(x), np.ones((5, 1)), rtol=1e-5)
    y = np.asarray(mlp(x, training=True))
    deviation = np.sqrt(0.25 / 0.75 / 4000)
    assert np.all(np.abs(y - 1) < 6 * deviation)
    assert len(np.unique(y)) > 1


def test_dropout_comes_after_every_hidden_layer():
    mlp = MLP((4, 4, 4, 2), dropout=0.5)
    mlp.build((None, 3))
    assert [layer.rate for layer in mlp.dropout_layers] == [0.5] * 3


def test_no_dropout_leaves_training_as_it_is():
    mlp = MLP((8, 3))
    x = harness.random_input(6, 5)
    np.testing.assert_array_equal(mlp(x, training=True), mlp(x))


def test_the_initializers_keep_the_scale():
    """He's variance 2 / n before a ReLU, 1 / n on the output."""
    mlp = MLP((512, 256))
    mlp.build((None, 1024))
    kernels = [
        np.var(backends.numpy(layer.kernel)) for layer in mlp.dense_layers
    ]
    assert kernels == pytest.approx([2 / 1024, 1 / 512], rel=0.05)


def test_every_layer_draws_its_own_weights():
    mlp = MLP((6, 6, 6, 6))
    mlp.build((None, 6))
    kernels = [np.asarray(layer.kernel) for layer in mlp.dense_layers]
    for index, kernel in enumerate(kernels):
        for other in kernels[:index]:
            assert not np.allclose(kernel, other)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"units": ()}, "units=()"),
        ({"units": 8}, "units=8"),
        ({"units": "88"}, "units='88'"),
        ({"units": None}, "units=None"),
        ({"units": (8, 0)}, "units=0"),
        ({"units": (8, 2.0)}, "units=2.0"),
        ({"units": (True, 2)}, "units=True"),
        ({"units": ((8,), (8,))}, "units=(8,)"),
        ({"units": (2,), "dropout": 1}, "dropout=1"),
        ({"units": (2,), "dropout": -0.1}, "dropout=-0.1"),
        ({"units": (2,), "dropout": "0.1"}, "dropout='0.1'"),
        ({"units": (2,), "dropout": True}, "dropout=True"),
        ({"units": (2,), "dropout": float("nan")}, "dropout=nan"),
    ],
)
def test_refuses_bad_arguments(arguments, expected):
    harness.assert_refused(lambda: MLP(**arguments), "MLP", expected)


def test_refuses_an_unknown_width():
    with pytest.raises(ValueError, match=r"MLP: the last .* \(None, None\)"):
        MLP((2,)).build((None, None))


def test_refuses_an_unknown_argument():
    with pytest.raises((TypeError, ValueError), match="droput"):
        MLP((2,), droput=0.1)


def test_arguments_after_the_first_are_keyword_only():
    with pytest.raises(TypeError):
        MLP((2,), "relu")
