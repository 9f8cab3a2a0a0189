"""AttentiveProjection: reshape(MLP(LN(flatten(W X))))."""

import functools

import numpy as np
import pytest

from tests import backends
from tests.layers import harness
from tests.oracles import blocks
from wukong_tf.layers import AttentiveProjection, FactorizationMachineBlock

CASES = (
    harness.Case(
        "narrow",
        AttentiveProjection,
        {"rank": 2},
        (4, 5, 8),
        blocks.attentive_projection,
    ),
    harness.Case(
        "every_argument",
        AttentiveProjection,
        {
            "rank": 3,
            "attention_embeddings": 2,
            "attention_units": (6, 5),
            "dropout": 0.25,
            "epsilon": 0.5,
        },
        (3, 4, 8),
        functools.partial(blocks.attentive_projection, epsilon=0.5),
    ),
)


@pytest.mark.parametrize("units", [(512, 512), (2048, 2048, 2048)])
@pytest.mark.parametrize("num_embeddings", [8, 32])
def test_adds_at_most_a_tenth_to_the_blocks_mlp(units, num_embeddings):
    """At n = 720, d = 160 and k = 24, the sizes of the paper's section 7."""
    block = FactorizationMachineBlock(num_embeddings, 24, units, fm="attentive")
    block.build((None, 720, 160))
    added = block.attention.count_params()
    own = block.mlp.count_params()
    print(f"{units}, n_F={num_embeddings}: {added:,} beside {own:,}")
    assert 0 < added <= 0.1 * own


def test_gradients_reach_every_weight():
    block = FactorizationMachineBlock(2, 3, (16,), fm="attentive")
    x = harness.random_input(16, 5, 8)
    block.build(x.shape)
    _, for_weights = backends.gradients(
        block, x, harness.random_input(16, 2, 8), "float32"
    )
    paths = list(harness.shapes(block))
    assert any(path.startswith("attention/") for path in paths)
    found = backends.is_nonzero(for_weights)
    assert dict(zip(paths, found, strict=True)) == dict.fromkeys(paths, True)


def test_every_example_has_its_own_projection():
    layer = AttentiveProjection(3)
    y = backends.numpy(layer(harness.random_input(2, 5, 8)))
    assert not np.allclose(y[0], y[1], atol=1e-2)


@pytest.mark.parametrize("scale", [1e-2, 1e3])
def test_the_embeddings_scale_is_not_the_projections(scale):
    layer = AttentiveProjection(3, epsilon=1e-12)
    x = harness.random_input(4, 5, 8)
    expected = backends.numpy(layer(x))
    found = backends.numpy(layer(scale * x))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rank": 0}, "rank=0"),
        ({"rank": None}, "rank=None"),
        ({"attention_embeddings": 0}, "attention_embeddings=0"),
        ({"attention_units": 32}, "attention_units=32"),
        ({"attention_units": (0,)}, "attention_units=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"epsilon": 0}, "epsilon=0"),
    ],
)
def test_refuses_bad_arguments(changes, expected):
    harness.assert_refused(
        lambda: AttentiveProjection(**{"rank": 3, **changes}),
        "AttentiveProjection",
        expected,
    )


def test_refuses_a_rank_above_the_embeddings_in():
    with pytest.raises(ValueError, match="at most 5,.* received 6"):
        AttentiveProjection(6).build((None, 5, 4))
