"""Models of public Wukongs equal NumPy transcriptions of their equations."""

import keras
import numpy as np
import pytest

from tests import backends, tiers
from tests.interop import states
from tests.oracles import public_wukongs
from wukong_tf import interop
from wukong_tf.layers import InteractionStack
from wukong_tf.runs.arrays import model_slots

pytestmark = backends.tensorflow_only
RATE = 0.125  # exact in float32, Keras's dtype of a learning rate
KINDS = ("clabrugere", "mlcc", "torcheasyrec", "fuxictr")
of_every_kind = pytest.mark.parametrize("kind", KINDS)


def read(kind, tensors, **kwargs):
    """Returns the configuration and the model of a state dict."""
    config, arrays = interop.read(
        kind, tensors, states.features(kind), **kwargs
    )
    return config, interop.build(config, arrays, dtype="float64")


def logits(model, batch):
    return backends.numpy(model(batch)["click"])[:, 0]


def gradients(model, batch, labels):
    """Returns the loss's gradient for each trainable variable."""
    import tensorflow as tf

    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    with tf.GradientTape() as tape:
        value = loss(labels[:, None], model(batch)["click"])
    variables = [variable.value for variable in model.trainable_variables]
    return [tf.convert_to_tensor(g) for g in tape.gradient(value, variables)]


def by_name(model, values):
    """Returns values of the trainable variables by their canonical names."""
    found = {
        id(variable): backends.numpy(value)
        for variable, value in zip(
            model.trainable_variables, values, strict=True
        )
    }
    return {
        slot.name: found[id(slot.variable)][slice(*(slot.rows or (None,)))]
        for slot in model_slots(model)
    }


def assert_equal(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].shape == value.shape, key
        np.testing.assert_allclose(
            actual[key], value, rtol=0, atol=tolerance, err_msg=key
        )


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        *((kind, {}) for kind in KINDS),
        ("torcheasyrec", {"units": (4, 3), "head": (4, 3), "lcb": 1}),
        ("fuxictr", {"rank": None, "units": (), "head": ()}),
        ("fuxictr", {"lcb": 1, "fmb": 1}),
        ("mlcc", {"lcb": 1, "head": (4, 3)}),
        ("clabrugere", {"lcb": 1, "rank": 1}),
    ],
)
def test_logits_and_gradients(kind, sizes):
    tensors, batch = states.make(kind, **sizes), states.batch(kind)
    config, model = read(kind, tensors)
    oracle = public_wukongs.OF[kind]
    expected = oracle(tensors, batch)
    assert expected.std() > 0.01
    np.testing.assert_allclose(
        logits(model, batch), expected, rtol=0, atol=1e-10
    )
    found = by_name(model, gradients(model, batch, states.labels()))
    assert_equal(
        interop.write(kind, config, found),
        public_wukongs.gradients(oracle, tensors, batch, states.labels()),
        1e-10,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", tiers.first(reversed(KINDS)))
def test_a_hundred_steps_of_training(kind):
    tensors = states.make(kind, rank=1, fmb=1, lcb=1)
    config, model = read(kind, tensors)
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(model.trainable_variables)
    oracle = public_wukongs.OF[kind]
    before = {key: value.copy() for key, value in tensors.items()}
    for step in range(100):
        batch = states.batch(kind, seed=step)
        labels = states.labels(seed=step)
        optimizer.apply(gradients(model, batch, labels))
        changes = public_wukongs.gradients(oracle, tensors, batch, labels)
        for key, change in changes.items():
            tensors[key] = tensors[key] - RATE * change
    for key in tensors.keys() - {"wukong_stack.0.residual_proj.bias"}:
        assert (tensors[key] != before[key]).any(), key
    found = interop.arrays(model)
    assert_equal(interop.write(kind, config, found), tensors, 1e-6)


@of_every_kind
def test_a_state_dict_comes_back_bit_by_bit(kind):
    tensors = states.make(kind)
    config, arrays = interop.read(kind, tensors, states.features(kind))
    assert_equal(interop.write(kind, config, arrays), tensors, 0)
    prefixed = interop.write(kind, config, arrays, prefix="module.")
    prefixed["step"] = np.array(3)
    other, again = interop.read(
        kind, prefixed, states.features(kind), prefix="module."
    )
    assert other == config
    assert_equal(again, arrays, 0)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("fuxictr", {"norms": True}),
        ("clabrugere", {"units": (3,), "head": (3, 3)}),
    ],
)
def test_batch_normalizations_are_folded_for_inference(kind, sizes):
    tensors, batch = states.make(kind, **sizes), states.batch(kind)
    config, model = read(kind, tensors, inference_only=True)
    expected = public_wukongs.OF[kind](tensors, batch)
    np.testing.assert_allclose(
        logits(model, batch), expected, rtol=0, atol=1e-10
    )
    arrays = interop.arrays(model)
    again = interop.write(kind, config, arrays, inference_only=True)
    if kind == "clabrugere":
        assert again.keys() == tensors.keys()
    np.testing.assert_allclose(
        public_wukongs.OF[kind](again, batch), expected, rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [("torcheasyrec", "output_mlp.bias"), ("fuxictr", "fc.mlp.2.bias")],
)
def test_a_missing_bias_is_zero_for_inference(kind, key):
    tensors, batch = states.make(kind), states.batch(kind)
    del tensors[key]
    _, model = read(kind, tensors, inference_only=True)
    np.testing.assert_allclose(
        logits(model, batch),
        public_wukongs.OF[kind](tensors, batch),
        rtol=0,
        atol=1e-10,
    )


@of_every_kind
def test_layers_are_read_without_the_rest(kind):
    tensors = states.make(kind)
    arguments, arrays = interop.read_stack(kind, tensors)
    _, whole = interop.read(kind, tensors, states.features(kind))
    start = "dense/stack/"
    assert_equal(
        arrays,
        {k.removeprefix(start): v for k, v in whole.items() if start in k},
        0,
    )
    stack = InteractionStack(**arguments)
    stack.build((None, 3, 4))
    paths = {weight.path.split("/", 1)[1] for weight in stack.weights}
    assert paths == arrays.keys()
