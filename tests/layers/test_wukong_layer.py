"""WukongLayer: LN(concat(FMB(X), LCB(X)) + R(X))."""

import functools

import keras
import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import WukongLayer

CASES = (
    harness.Case(
        "compressed_residual",
        WukongLayer,
        {"num_fmb": 2, "num_lcb": 1, "rank": 3, "mlp_units": (6,)},
        (4, 5, 8),
        blocks.wukong_layer,
    ),
    harness.Case(
        "identity_residual",
        WukongLayer,
        {
            "num_fmb": 2,
            "num_lcb": 3,
            "rank": 3,
            "mlp_units": [6],
            "residual_bias": True,  # and no residual with weights
        },
        (3, 5, 8),
        blocks.wukong_layer,
    ),
    harness.Case(
        "every_argument",
        WukongLayer,
        {
            "num_fmb": 3,
            "num_lcb": 2,
            "rank": None,
            "mlp_units": (6, 5),
            "fm": "full",
            "dropout": 0.25,
            "epsilon": 0.5,
        },
        (3, 4, 8),
        functools.partial(blocks.wukong_layer, epsilon=0.5),
    ),
    harness.Case(
        "attentive",
        WukongLayer,
        {
            "num_fmb": 2,
            "num_lcb": 1,
            "rank": 3,
            "mlp_units": (6,),
            "fm": "attentive",
            "attention_embeddings": 2,
            "attention_units": (4,),
        },
        (4, 5, 8),
        blocks.wukong_layer,
    ),
    harness.Case(
        "relu",
        WukongLayer,
        {
            "num_fmb": 2,
            "num_lcb": 1,
            "rank": 3,
            "mlp_units": (6,),
            "fmb_activation": "relu",
        },
        (4, 5, 8),
        functools.partial(blocks.wukong_layer, relu=True),
    ),
    harness.Case(
        "gated_mlp_without_bias",
        WukongLayer,
        {
            "num_fmb": 2,
            "num_lcb": 1,
            "rank": 3,
            "mlp_units": (6, 5),
            "mlp_activation": "silu",
            "mlp_bias": False,
            "mlp_glu": True,
        },
        (4, 5, 8),
        functools.partial(blocks.wukong_layer, hidden=blocks.swiglu),
    ),
    *(
        harness.Case(
            "without_" + "_and_".join(remove),
            WukongLayer,
            {
                "num_fmb": 3,
                "num_lcb": 2,
                "rank": 3,
                "mlp_units": (6,),
                "remove": remove,
            },
            (4, n, 8),
            functools.partial(
                blocks.wukong_layer,
                num_fmb=3,
                num_lcb=2,
                adds_input=not {"residual", "linear_path"} & set(remove),
            ),
        )
        for remove, n in (
            (("fmb",), 5),
            (("lcb",), 6),
            (("residual",), 6),
            (("fmb", "lcb"), 6),
            (("fmb", "residual"), 5),
        )
    ),
)


def layer_with(num_fmb, num_lcb, rows, width=4, **arguments):
    layer = WukongLayer(num_fmb, num_lcb, 3, (6,), **arguments)
    layer.build((None, rows, width))
    return layer


def standardized(x):
    """Zero mean and unit variance over the width, one row at a time."""
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


def silence_blocks(layer):
    """Makes both blocks give zeros, so that the residual stands alone."""
    dense = layer.fmb.mlp.dense_layers[-1]
    for kernel in (dense.kernel, layer.lcb.kernel):
        kernel.assign(np.zeros(kernel.shape))


def test_the_residual_is_the_input_where_the_rows_stay():
    layer = layer_with(2, 3, rows=5, epsilon=1e-12)
    assert layer.residual is None
    assert not any("residual" in path for path in harness.shapes(layer))
    silence_blocks(layer)
    x = harness.random_input(3, 5, 4)
    np.testing.assert_allclose(layer(x), standardized(x), rtol=1e-4, atol=1e-5)


def test_the_residual_is_compressed_where_the_rows_change():
    layer = layer_with(2, 1, rows=5, epsilon=1e-12)
    paths = [path for path in harness.shapes(layer) if "residual" in path]
    assert paths == ["residual/kernel"]  # And no bias.
    silence_blocks(layer)
    x = harness.random_input(3, 5, 4)
    kernel = np.asarray(layer.residual.kernel)
    expected = standardized(np.einsum("nm,bnd->bmd", kernel, x))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-4)


def test_the_bias_of_the_residual_is_taken_out_by_the_norm():
    layer = layer_with(2, 1, rows=5, residual_bias=True)
    assert harness.shapes(layer)["residual/bias"] == (3,)
    x = harness.random_input(3, 5, 4)
    before, linear = backends.numpy(layer(x)), backends.numpy(layer.residual(x))
    shift = np.array([1.0, -2.0, 3.0], "float32")
    layer.residual.bias.assign(shift)
    np.testing.assert_allclose(
        layer.residual(x), linear + shift[:, None], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(layer(x), before, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [5, 7])
def test_the_rows_of_the_fmb_come_first(rows):
    layer = layer_with(2, 3, rows=rows)
    x = harness.random_input(3, rows, 4)
    before = np.asarray(layer(x))
    bias = layer.fmb.mlp.dense_layers[-1].bias
    bias.assign(harness.random_input(*bias.shape))
    by_fmb = np.any(np.asarray(layer(x)) != before, axis=(0, 2))
    assert by_fmb.tolist() == [True, True, False, False, False]
    before = np.asarray(layer(x))
    layer.lcb.kernel.assign(2 * layer.lcb.kernel)
    by_lcb = np.any(np.asarray(layer(x)) != before, axis=(0, 2))
    assert by_lcb.tolist() == [False, False, True, True, True]


def test_every_row_is_normalized_over_the_width():
    y = np.asarray(
        layer_with(2, 3, rows=7, width=16)(harness.random_input(4, 7, 16))
    )
    np.testing.assert_allclose(y.mean(-1), np.zeros((4, 5)), atol=1e-5)
    np.testing.assert_allclose(y.std(-1), np.ones((4, 5)), rtol=1e-3)


def test_no_batch_normalization():
    """A row's output in training does not hang on the rows beside it."""
    layer = layer_with(2, 1, rows=5)
    x = harness.random_input(6, 5, 4)
    alone = layer(x[:1], training=True)
    np.testing.assert_allclose(
        layer(x, training=True)[:1], alone, rtol=1e-4, atol=1e-5
    )
    assert set(harness.shapes(layer)) == {
        "fmb/projection",
        "fmb/norm/gamma",
        "fmb/norm/beta",
        "fmb/mlp/dense_0/kernel",
        "fmb/mlp/dense_0/bias",
        "fmb/mlp/dense_1/kernel",
        "fmb/mlp/dense_1/bias",
        "lcb/kernel",
        "residual/kernel",
        "norm/gamma",
        "norm/beta",
    }
    assert not layer.non_trainable_weights


def test_dropout_is_for_training_alone():
    x = harness.random_input(4, 5, 4)
    layer = layer_with(2, 1, rows=5, dropout=0.5)
    np.testing.assert_array_equal(layer(x, training=False), layer(x))
    trained = backends.numpy(layer(x, training=True))
    changed = np.any(trained != backends.numpy(layer(x)), axis=(0, 2))
    assert changed.tolist() == [True, True, False]  # The FMB's rows alone.


def test_both_compressions_keep_the_variance():
    """Were a fan taken from the rows out, they would be 32 times it."""
    layer = WukongLayer(8, 8, 8, ())
    x = harness.random_input(64, 512, 16)
    layer.build(x.shape)
    for block in (layer.lcb, layer.residual):
        assert np.var(backends.numpy(block(x))) == pytest.approx(
            np.var(x), rel=0.1
        )


def test_the_compressions_draw_their_own_weights():
    layer = WukongLayer(8, 8, 8, ())
    layer.build((None, 12, 4))
    residual = np.asarray(layer.residual.kernel)
    lcb = np.asarray(layer.lcb.kernel)
    assert not np.allclose(residual[:, :8], lcb)
    assert not np.allclose(residual[:, 8:], lcb)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_fmb": 0}, "num_fmb=0"),
        ({"num_fmb": "2"}, "num_fmb='2'"),
        ({"num_lcb": 0}, "num_lcb=0"),
        ({"num_lcb": False}, "num_lcb=False"),
        ({"rank": 0}, "rank=0"),
        ({"rank": None}, "rank=None"),
        ({"mlp_units": 6}, "mlp_units=6"),
        ({"mlp_units": (0,)}, "mlp_units=0"),
        ({"fm": "attention"}, "fm='attention'"),
        ({"dropout": 2}, "dropout=2"),
        ({"epsilon": -1e-5}, "epsilon=-1e-05"),
    ],
)
def test_refuses_bad_arguments(changes, expected):
    arguments = {"num_fmb": 2, "num_lcb": 1, "rank": 3, "mlp_units": (6,)}
    WukongLayer(**arguments)
    harness.assert_refused(
        lambda: WukongLayer(**{**arguments, **changes}), "WukongLayer", expected
    )


def test_refuses_a_rank_above_the_embeddings_in():
    with pytest.raises(ValueError) as error:
        WukongLayer(2, 1, 6, (6,)).build((None, 5, 4))
    assert "`rank` must be at most 5," in str(error.value)
    assert "received 6." in str(error.value)


@pytest.mark.parametrize("shape", [(4,), (3, 4, 5), (None, 4), (4, None)])
def test_refuses_a_bad_input_shape(shape):
    with pytest.raises(ValueError) as error:
        WukongLayer(2, 1, 3, (6,))(keras.Input(shape))
    assert str((None, *shape)) in str(error.value)
    assert "WukongLayer" in str(error.value)


def test_arguments_after_fm_are_keyword_only():
    with pytest.raises(TypeError):
        WukongLayer(2, 1, 3, (6,), "full", 0.1)


def test_without_a_linear_path_the_rows_of_the_lcb_hold_the_shift_alone():
    layer = layer_with(3, 2, rows=5, remove=("linear_path",))
    assert layer.lcb is None and layer.residual is None
    assert {p.split("/")[0] for p in harness.shapes(layer)} == {"fmb", "norm"}
    beta = harness.random_input(4)
    layer.norm.beta.assign(beta)
    y = backends.numpy(layer(harness.random_input(3, 5, 4)))
    np.testing.assert_array_equal(y[:, 3:], np.broadcast_to(beta, (3, 2, 4)))
    assert not np.allclose(y[:, :3], beta, atol=1e-2)


@pytest.mark.parametrize(
    ("remove", "expected"),
    [
        ("lcb", "a sequence of names; received 'lcb'"),
        (None, "received None"),
        (["mlp"], "received 'mlp'"),
        (["lcb", "residual"], "name 'linear_path' to do so"),
        (["fmb", "linear_path"], "must not name all parts"),
    ],
)
def test_refuses_to_remove(remove, expected):
    with pytest.raises(ValueError) as error:
        WukongLayer(2, 2, 3, (6,), remove=remove)
    assert expected in str(error.value)
    assert str(error.value).startswith("WukongLayer: `remove` ")
