"""InteractionStack: one WukongLayer after the other, of any sizes."""

import functools

import keras
import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import InteractionStack, WukongLayer

CASES = (
    harness.Case(
        "one_size",
        InteractionStack,
        {
            "num_layers": 2,
            "num_fmb": 2,
            "num_lcb": 2,
            "rank": 3,
            "mlp_units": (6,),
        },
        (3, 5, 8),
        blocks.interaction_stack,
    ),
    harness.Case(
        "pyramid",
        InteractionStack,
        {
            "num_layers": 3,
            "num_fmb": (3, 2, 1),
            "num_lcb": [2, 1, 1],
            "rank": (4, 3, 2),
            "mlp_units": [(6, 5), [4], ()],
        },
        (3, 6, 8),
        blocks.interaction_stack,
    ),
    harness.Case(
        "every_argument",
        InteractionStack,
        {
            "num_layers": 2,
            "num_fmb": 2,
            "num_lcb": (3, 1),
            "rank": None,
            "mlp_units": (6,),
            "fm": "full",
            "dropout": 0.25,
            "epsilon": 0.5,
            "fmb_activation": "relu",
        },
        (3, 5, 8),
        functools.partial(blocks.interaction_stack, epsilon=0.5, relu=True),
    ),
    harness.Case(
        "gated",
        InteractionStack,
        {
            "num_layers": 1,
            "num_fmb": 2,
            "num_lcb": 3,
            "rank": 3,
            "mlp_units": (6,),
            "mlp_activation": "silu",
            "mlp_bias": False,
            "mlp_glu": True,
        },
        (3, 5, 8),
        functools.partial(blocks.interaction_stack, hidden=blocks.swiglu),
    ),
    harness.Case(
        "residual_bias",
        InteractionStack,
        {
            "num_layers": 1,
            "num_fmb": 2,
            "num_lcb": 3,
            "rank": 3,
            "mlp_units": (6,),
            "residual_bias": True,  # and no residual with weights
        },
        (3, 5, 8),
        blocks.interaction_stack,
    ),
    harness.Case(
        "attentive_remat",
        InteractionStack,
        {
            "num_layers": 2,
            "num_fmb": 2,
            "num_lcb": 2,
            "rank": 3,
            "mlp_units": (6,),
            "fm": "attentive",
            "attention_embeddings": 2,
            "attention_units": (4,),
            "remat": True,
        },
        (3, 5, 8),
        blocks.interaction_stack,
    ),
    harness.Case(
        "without_residual",
        InteractionStack,
        {
            "num_layers": 2,
            "num_fmb": 2,
            "num_lcb": 2,
            "rank": 3,
            "mlp_units": (6,),
            "remove": ("residual",),
        },
        (3, 5, 8),
        functools.partial(blocks.interaction_stack, adds_input=False),
    ),
)


def test_a_pyramid_is_its_layers_one_after_the_other():
    stack = InteractionStack(
        3, (4, 3, 1), (4, 2, 1), (6, 5, 2), ((8, 7), (6,), ())
    )
    x = harness.random_input(4, 9, 5)
    y = stack(x)
    assert y.shape == (4, 2, 5)
    weights = stack.get_weights()
    sizes = ((4, 4, 6, (8, 7)), (3, 2, 5, (6,)), (1, 1, 2, ()))
    for num_fmb, num_lcb, rank, units in sizes:
        layer = WukongLayer(num_fmb, num_lcb, rank, units)
        layer.build(x.shape)
        own = len(layer.weights)
        layer.set_weights(weights[:own])
        weights = weights[own:]
        x = layer(x)
    assert not weights
    np.testing.assert_array_equal(y, x)


def test_one_value_is_the_same_as_one_for_each_layer():
    short = InteractionStack(2, 3, 2, 4, (6, 5))
    long = InteractionStack(2, [3, 3], (2, 2), [4, 4], [[6, 5], (6, 5)])
    x = harness.random_input(2, 6, 4)
    short.build(x.shape)
    long.build(x.shape)
    assert harness.shapes(short) == harness.shapes(long)
    long.set_weights(short.get_weights())
    np.testing.assert_array_equal(short(x), long(x))


def test_only_the_layers_that_change_the_rows_have_a_residual():
    stack = InteractionStack(3, (2, 2, 1), (3, 3, 1), 2, (4,))
    stack.build((None, 7, 4))
    present = [layer.residual is not None for layer in stack.layers]
    assert present == [True, False, True]


def test_a_list_that_changes_later_leaves_the_stack_as_it_is():
    rows, units = [3, 2], [[6], [5]]
    stack = InteractionStack(2, rows, rows, 2, units)
    rows[1] = 9
    units[1][0] = 9
    stack.build((None, 6, 4))
    assert stack.compute_output_shape((None, 6, 4)) == (None, 4, 4)
    assert stack.get_config()["num_fmb"] == (3, 2)
    assert stack.get_config()["mlp_units"] == ((6,), (5,))


def test_every_layer_draws_its_own_weights():
    stack = InteractionStack(2, 2, 3, 2, (6,))
    stack.build((None, 5, 4))
    first, second = stack.layers
    for one, other in zip(first.weights, second.weights, strict=True):
        assert one.shape == other.shape
        if len(one.shape) == 2:
            assert not np.allclose(one, other), one.path


def test_no_batch_normalization():
    """A row's output in training does not hang on the rows beside it."""
    stack = InteractionStack(2, 2, 3, 2, (6,))
    x = harness.random_input(6, 5, 4)
    alone = stack(x[:1], training=True)
    np.testing.assert_allclose(
        stack(x, training=True)[:1], alone, rtol=1e-3, atol=1e-4
    )
    assert not stack.non_trainable_weights


def test_dropout_is_for_training_alone():
    x = harness.random_input(4, 5, 4)
    stack = InteractionStack(2, 2, 3, 2, (64,), dropout=0.5)
    np.testing.assert_array_equal(stack(x, training=False), stack(x))
    assert not np.allclose(stack(x, training=True), stack(x), atol=1e-3)


ARGUMENTS = {
    "num_layers": 2,
    "num_fmb": 2,
    "num_lcb": 1,
    "rank": 2,
    "mlp_units": (6,),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_layers": 0}, "num_layers=0"),
        ({"num_layers": 2.0}, "num_layers=2.0"),
        ({"num_fmb": 0}, "num_fmb=0"),
        ({"num_fmb": (2, 0)}, "num_fmb=0"),
        ({"num_lcb": (1, "1")}, "num_lcb='1'"),
        ({"num_lcb": None}, "num_lcb=None"),
        ({"rank": (2, -2)}, "rank=-2"),
        ({"rank": None}, "rank=None"),
        ({"mlp_units": 6}, "mlp_units=6"),
        ({"mlp_units": (6, (6,))}, "mlp_units=6"),
        ({"mlp_units": ((6,), (0,))}, "mlp_units=0"),
        ({"fm": "attention"}, "fm='attention'"),
        ({"dropout": -1}, "dropout=-1"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
    ],
)
def test_refuses_bad_arguments(changes, expected):
    InteractionStack(**ARGUMENTS)
    harness.assert_refused(
        lambda: InteractionStack(**{**ARGUMENTS, **changes}),
        "InteractionStack",
        expected,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_fmb", (2, 2, 2)),
        ("num_lcb", (1,)),
        ("rank", ()),
        ("mlp_units", ((6,), (6,), (6,))),
    ],
)
def test_refuses_a_sequence_of_another_length(name, value):
    with pytest.raises(ValueError) as error:
        InteractionStack(**{**ARGUMENTS, name: value})
    assert f"`{name}` must be one value or one for" in str(error.value)
    assert f"the 2 layers; received {name}={value!r}" in str(error.value)


def test_refuses_a_rank_above_the_rows_of_a_later_layer():
    stack = InteractionStack(2, 2, 1, 4, (6,))
    with pytest.raises(ValueError) as error:
        stack.build((None, 5, 4))
    assert "`rank` must be at most 3," in str(error.value)
    assert "received 4." in str(error.value)


@pytest.mark.parametrize("shape", [(4,), (3, 4, 5), (None, 4), (4, None)])
def test_refuses_a_bad_input_shape(shape):
    with pytest.raises(ValueError) as error:
        InteractionStack(**ARGUMENTS)(keras.Input(shape))
    assert str((None, *shape)) in str(error.value)
    assert "InteractionStack" in str(error.value)


def test_arguments_after_fm_are_keyword_only():
    with pytest.raises(TypeError):
        InteractionStack(2, 2, 1, 2, (6,), "full", 0.1)


def test_computing_layers_again_changes_no_gradient():
    x = harness.random_input(6, 7, 8)
    above = harness.random_input(6, 4, 8)
    stacks = [
        InteractionStack(3, 2, 2, 3, (6, 5), remat=remat)
        for remat in (False, True)
    ]
    for stack in stacks:
        stack.build(x.shape)
        stack.set_weights(stacks[0].get_weights())
    (kept_x, kept), (again_x, again) = (
        backends.gradients(stack, x, above, "float32", training=True)
        for stack in stacks
    )
    assert all(backends.is_nonzero([again_x, *again]))
    for one, other in zip([kept_x, *kept], [again_x, *again], strict=True):
        np.testing.assert_allclose(
            backends.numpy(one), backends.numpy(other), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("training", [None, False, True])
def test_layer_outputs_are_what_call_goes_through(remat, training):
    x = keras.ops.convert_to_tensor(harness.random_input(3, 6, 8))
    stack = InteractionStack(2, (3, 2), (2, 1), 3, (6,), remat=remat)
    outputs = stack.layer_outputs(x, training=training)
    assert [tuple(y.shape) for y in outputs] == [(3, 5, 8), (3, 3, 8)]
    before = x
    for layer, found in zip(stack.layers, outputs, strict=True):
        np.testing.assert_allclose(
            backends.numpy(found), backends.numpy(layer(before)), rtol=1e-5
        )
        before = found
    np.testing.assert_allclose(
        backends.numpy(outputs[-1]), backends.numpy(stack(x)), rtol=1e-5
    )


def test_refuses_to_compute_a_dropout_again():
    with pytest.raises(ValueError, match="`dropout` must be 0 with.*0.5"):
        InteractionStack(2, 2, 2, 3, (6,), dropout=0.5, remat=True)
