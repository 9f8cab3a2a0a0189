"""FactorizationMachineBlock: reshape(MLP(LN(flatten(X X^T Y))))."""

import functools

import keras
import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import FactorizationMachineBlock

CASES = (
    harness.Case(
        "projected",
        FactorizationMachineBlock,
        {"num_embeddings": 2, "rank": 3, "mlp_units": (6,)},
        (4, 5, 8),
        blocks.factorization_machine,
    ),
    harness.Case(
        "full",
        FactorizationMachineBlock,
        {"num_embeddings": 3, "rank": None, "mlp_units": [7], "fm": "full"},
        (3, 4, 8),
        blocks.factorization_machine,
    ),
    harness.Case(
        "no_hidden_full_rank",
        FactorizationMachineBlock,
        {"num_embeddings": 1, "rank": 4, "mlp_units": ()},
        (3, 4, 6),
        blocks.factorization_machine,
    ),
    harness.Case(
        "every_argument",
        FactorizationMachineBlock,
        {
            "num_embeddings": 2,
            "rank": 2,
            "mlp_units": (6, 5),
            "fm": "projected",
            "dropout": 0.25,
            "epsilon": 0.5,
            "projection_initializer": keras.initializers.HeNormal(seed=3),
        },
        (4, 5, 8),
        functools.partial(blocks.factorization_machine, epsilon=0.5),
    ),
    harness.Case(
        "gated",
        FactorizationMachineBlock,
        {
            "num_embeddings": 2,
            "rank": 3,
            "mlp_units": (6,),
            "mlp_activation": "silu",
            "mlp_bias": False,
            "mlp_glu": True,
        },
        (4, 5, 8),
        functools.partial(blocks.factorization_machine, hidden=blocks.swiglu),
    ),
    harness.Case(
        "attentive",
        FactorizationMachineBlock,
        {
            "num_embeddings": 2,
            "rank": 3,
            "mlp_units": (6,),
            "fm": "attentive",
            "attention_embeddings": 2,
            "attention_units": (4,),
        },
        (4, 5, 8),
        blocks.factorization_machine,
    ),
    harness.Case(
        "relu",
        FactorizationMachineBlock,
        {
            "num_embeddings": 2,
            "rank": 3,
            "mlp_units": (6,),
            "output_activation": "relu",
        },
        (4, 5, 8),
        functools.partial(blocks.factorization_machine, relu=True),
    ),
)


def test_the_identity_as_projection_is_the_full_interaction():
    x = harness.random_input(3, 5, 4)
    full = FactorizationMachineBlock(2, None, (6,), fm="full")
    projected = FactorizationMachineBlock(
        2, 5, (6,), projection_initializer="identity"
    )
    expected = full(x)
    projected.build(x.shape)
    projected.set_weights([np.eye(5), *full.get_weights()])
    np.testing.assert_allclose(projected(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fm", ["full", "projected"])
def test_depends_on_the_embeddings_by_dot_products_alone(fm):
    """A rotation of the width keeps all dot products, so the output."""
    x = harness.random_input(3, 5, 4)
    rotation, _ = np.linalg.qr(harness.random_input(4, 4))
    block = FactorizationMachineBlock(2, 3, (6,), fm=fm)
    y = block(x)
    np.testing.assert_allclose(block(x @ rotation), y, rtol=1e-3, atol=1e-4)
    assert not np.allclose(block(x[:, ::-1]), y, atol=1e-2)


def test_the_norm_takes_out_the_scale_of_the_embeddings():
    x = harness.random_input(3, 5, 16)
    block = FactorizationMachineBlock(2, 3, (6,))
    np.testing.assert_allclose(block(10 * x), block(x), rtol=1e-3, atol=1e-4)


def test_the_full_interaction_ignores_the_rank():
    block = FactorizationMachineBlock(2, 64, (6,), fm="full")
    block.build((None, 5, 4))
    assert "projection" not in harness.shapes(block)
    assert harness.shapes(block)["norm/gamma"] == (25,)


def test_no_batch_normalization():
    """A row's output in training does not hang on the rows beside it."""
    block = FactorizationMachineBlock(2, 3, (6,))
    x = harness.random_input(6, 5, 4)
    alone = block(x[:1], training=True)
    np.testing.assert_allclose(
        block(x, training=True)[:1], alone, rtol=1e-4, atol=1e-5
    )
    assert set(harness.shapes(block)) == {
        "projection",
        "norm/gamma",
        "norm/beta",
        "mlp/dense_0/kernel",
        "mlp/dense_0/bias",
        "mlp/dense_1/kernel",
        "mlp/dense_1/bias",
    }
    assert not block.non_trainable_weights


def test_dropout_is_for_training_alone():
    x = harness.random_input(4, 5, 4)
    block = FactorizationMachineBlock(2, 3, (64,), dropout=0.5)
    np.testing.assert_array_equal(block(x, training=False), block(x))
    assert not np.allclose(block(x, training=True), block(x), atol=1e-3)


@pytest.mark.parametrize("rank", [8, 256])
def test_the_projection_scales_by_the_embeddings_in(rank):
    """The fan-in is n: Y's variance is 1 / n, so X^T Y keeps that of X."""
    block = FactorizationMachineBlock(1, rank, ())
    block.build((None, 1024, 4))
    assert np.var(backends.numpy(block.projection)) == pytest.approx(
        1 / 1024, rel=0.06
    )
    x = harness.random_input(64, 1024, 4)
    projected = np.einsum("bnd,nk->bkd", x, np.asarray(block.projection))
    assert np.var(projected) == pytest.approx(np.var(x), rel=0.1)


def test_the_output_starts_at_the_scale_of_one():
    """LN, then He's 2 / n before the ReLU, then 1 / n: a mean square of 1."""
    block = FactorizationMachineBlock(16, 24, (512, 512))
    y = block(harness.random_input(64, 64, 16))
    assert np.mean(np.square(backends.numpy(y))) == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_embeddings": 0}, "num_embeddings=0"),
        ({"num_embeddings": True}, "num_embeddings=True"),
        ({"rank": 0}, "rank=0"),
        ({"rank": None}, "rank=None"),
        ({"rank": 1.0}, "rank=1.0"),
        ({"rank": -1, "fm": "full"}, "rank=-1"),
        ({"mlp_units": 6}, "mlp_units=6"),
        ({"mlp_units": "6"}, "mlp_units='6'"),
        ({"mlp_units": (6, -6)}, "mlp_units=-6"),
        ({"fm": "attention"}, "fm='attention'"),
        ({"attention_embeddings": 0}, "attention_embeddings=0"),
        ({"attention_units": 8}, "attention_units=8"),
        ({"fm": None}, "fm=None"),
        ({"fm": ["full"]}, "fm=['full']"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"epsilon": 0}, "epsilon=0"),
        ({"epsilon": float("inf")}, "epsilon=inf"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"epsilon": "1e-5"}, "epsilon='1e-5'"),
    ],
)
def test_refuses_bad_arguments(changes, expected):
    arguments = {"num_embeddings": 2, "rank": 3, "mlp_units": (6,)}
    FactorizationMachineBlock(**arguments)
    harness.assert_refused(
        lambda: FactorizationMachineBlock(**{**arguments, **changes}),
        "FactorizationMachineBlock",
        expected,
    )


@pytest.mark.parametrize("fm", ["projected", "attentive"])
def test_refuses_a_rank_above_the_embeddings_in(fm):
    FactorizationMachineBlock(2, 5, (6,), fm).build((None, 5, 4))
    with pytest.raises(ValueError) as error:
        FactorizationMachineBlock(2, 6, (6,), fm).build((None, 5, 4))
    assert "`rank` must be at most 5," in str(error.value)
    assert "received 6." in str(error.value)


@pytest.mark.parametrize("shape", [(4,), (3, 4, 5), (None, 4), (4, None)])
def test_refuses_a_bad_input_shape(shape):
    with pytest.raises(ValueError) as error:
        FactorizationMachineBlock(2, 3, (6,))(keras.Input(shape))
    assert str((None, *shape)) in str(error.value)
    assert "FactorizationMachineBlock" in str(error.value)


def test_arguments_after_fm_are_keyword_only():
    with pytest.raises(TypeError):
        FactorizationMachineBlock(2, 3, (6,), "full", 0.1)
