"""Workers that update a part of the weights each update them all."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wukong_tf.optimizers import dense_optimizer
from wukong_tf.sharding.weights import OwnedWeights, RowsOf

SHAPES = {"kernel": (7, 3), "wide": (4, 2), "bias": (7,), "scale": ()}
STEPS = 3


def values(seed):
    random = np.random.default_rng(seed)
    return [
        np.asarray(random.normal(size=shape), np.float32)
        for shape in SHAPES.values()
    ]


def variables():
    return [
        keras.Variable(value, name=name)
        for name, value in zip(SHAPES, values(0), strict=True)
    ]


def trained(name, index=None):
    """Weights after some steps of one of two workers, and its slots."""
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        weights = variables()
        optimizer = dense_optimizer(name, 0.01, global_clipnorm=1.0)
        optimizer.gradients_are_summed = True
        if index is not None:
            whole = not optimizer.by_rows
            optimizer.owned = OwnedWeights(weights, 2, index, whole=whole)
            optimizer.owned.exchange = lambda variables: None
        optimizer.build(weights)
    for step in range(STEPS):
        gradients = [tf.constant(value) for value in values(1 + step)]
        optimizer.apply(gradients, weights)
    return weights, optimizer


@pytest.mark.parametrize("name", ["adam", "lion", "muon", "schedule_free"])
def test_the_parts_of_two_workers_are_the_weights_of_one(name):
    one, alone = trained(name)
    workers = [trained(name, index) for index in (0, 1)]
    for number, weight in enumerate(one):
        found = np.array(values(0)[number])
        for weights, optimizer in workers:
            updated = np.asarray(weights[number])
            layout = optimizer.owned.layout(weights[number])
            if layout is None:
                found = updated
                continue
            own = np.arange(*layout.run)
            found[own] = updated[own]
            # Other rows come by the exchange.
            others = np.delete(values(0)[number], own, 0)
            np.testing.assert_array_equal(np.delete(updated, own, 0), others)
        np.testing.assert_allclose(found, np.asarray(weight), atol=1e-6)
    for number, slot in enumerate(alone.variables):
        parts = [optimizer.variables[number] for _, optimizer in workers]
        assert [p.path.split("/")[1:] for p in parts] == (
            [slot.path.split("/")[1:]] * 2
        )
        if hasattr(parts[0], "shards"):
            joined = np.concatenate([np.asarray(part) for part in parts])
            np.testing.assert_allclose(joined, np.asarray(slot), atol=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_each_worker_has_half_of_the_rows_and_sends_them(index):
    owned = OwnedWeights(variables(), 2, index)
    layouts = [owned.layout(variable) for variable in variables()]
    assert layouts[3] is None
    sizes = [layout.sizes for layout in layouts[:3]]
    assert sizes == [[6, 1], [0, 4], [0, 7]]
    assert owned.bytes_sent == 4 * 18


def test_weights_are_exchanged_inside_a_strategy():
    weights = variables()
    with pytest.raises(RuntimeError, match=r"inside `strategy\.run`"):
        OwnedWeights(weights, 2, 0).exchange(weights)


def test_some_rows_of_a_variable():
    variable = tf.Variable(np.arange(12.0).reshape(4, 3))
    rows = RowsOf(variable, 1, 3)
    assert rows.shape == (2, 3) and rows.dtype == tf.float64
    np.testing.assert_array_equal(
        tf.convert_to_tensor(rows), np.arange(3.0, 9.0).reshape(2, 3)
    )
    rows.assign_sub(tf.ones([2, 3], tf.float64))
    rows.assign(2.0 * rows.read())
    expected = np.arange(12.0).reshape(4, 3)
    expected[1:3] = 2 * (expected[1:3] - 1)
    np.testing.assert_array_equal(variable.numpy(), expected)
