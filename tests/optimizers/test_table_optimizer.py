"""Tables by one optimizer and the rest by another, under plain `compile`."""

import keras
import numpy as np
import pytest

from tests import backends
from tests.oracles import fm_training
from wukong_tf.config import (
    CategoricalFeature,
    FactorizationMachineConfig,
    FeatureSpec,
    NumericFeature,
    WukongConfig,
)
from wukong_tf.models import build_model
from wukong_tf.optimizers import RowwiseAdagrad, table_optimizer

SPEC = FeatureSpec(
    (CategoricalFeature("user", 9), CategoricalFeature("item", 6)),
    (NumericFeature("price"), NumericFeature("age")),
)
BATCH, STEPS = 16, 12
LOSS = {"click": keras.losses.BinaryCrossentropy(from_logits=True)}


def batches():
    """(features, labels) of each step, with ids repeated in a batch."""
    for step in range(STEPS):
        random = np.random.default_rng(step)
        features = {
            "user": random.integers(0, 8, BATCH, np.int32),
            "item": random.integers(0, 6, BATCH, np.int32),
            "price": random.normal(size=BATCH).astype(np.float32),
            "age": random.normal(size=BATCH).astype(np.float32),
        }
        labels = (random.random(BATCH) < 0.4).astype(np.float32)
        yield features, labels


def train(model):
    """The loss of each step."""
    losses = []
    with backends.recording():
        for features, labels in batches():
            model.reset_metrics()
            found = model.train_on_batch(features, {"click": labels[:, None]})
            losses.append(float(np.ravel(found)[0]))
    return losses


def array(variable):
    """A copy, float64."""
    return np.array(backends.numpy(variable), np.float64)


def test_a_factorization_machine_moves_as_the_oracle():
    model = build_model(
        FactorizationMachineConfig(SPEC, embedding_dim=3, numeric_embeddings=1)
    )
    (table,) = [layer.table for layer in model.tables]
    kernel, offset = model.feature_embedding.numeric_mlp.weights
    random = np.random.default_rng(3)
    for variable in (table, kernel, offset, model.bias):
        variable.assign(random.normal(size=variable.shape) * 0.3)
    rows = array(table)
    oracle = fm_training.FM(
        {"user": rows[:9].copy(), "item": rows[9:].copy()},
        *(array(each) for each in (kernel, offset, model.bias)),
        table_rate=0.1,
        rate=0.01,
    )
    model.compile(
        table_optimizer(RowwiseAdagrad(0.1), keras.optimizers.Adam(0.01)), LOSS
    )
    losses = train(model)
    expected = [
        oracle.step(
            {name: features[name] for name in ("user", "item")},
            np.stack([features["price"], features["age"]], 1).astype(float),
            labels,
        )
        for features, labels in batches()
    ]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    moved = np.concatenate(list(oracle.tables.values()))
    np.testing.assert_allclose(array(table), moved, atol=2e-5)
    np.testing.assert_array_equal(array(table)[8], rows[8])  # in no batch
    for variable, value in (
        (kernel, oracle.kernel),
        (offset, oracle.offset),
        (model.bias, oracle.bias),
    ):
        np.testing.assert_allclose(array(variable), value, atol=2e-5)
    assert max(abs(moved - rows).ravel()) > 0.1


def make_wukong():
    keras.utils.set_random_seed(5)
    sizes = {"embedding_dim": 4, "num_layers": 1, "mlp_units": (8,)}
    return build_model(WukongConfig(SPEC, head_units=(8,), **sizes))


def test_each_variable_of_a_wukong_has_one_of_the_two():
    model = make_wukong()
    tables, rest = RowwiseAdagrad(0.1), keras.optimizers.Adam(1e-3)
    model.compile(table_optimizer(tables, rest), LOSS)
    train(model)
    paths = {layer.table.path for layer in model.tables}
    assert {v.path for v in tables._trainable_variables} == paths
    assert {v.path for v in rest._trainable_variables} == {
        v.path for v in model.trainable_variables if v.path not in paths
    }
    for optimizer in (tables, rest):
        assert int(optimizer.iterations) == STEPS


def test_one_rule_for_both_is_that_rule_alone():
    losses = []
    for optimizer in (
        keras.optimizers.SGD(0.5),
        table_optimizer(keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.5)),
    ):
        model = make_wukong()
        model.compile(optimizer, LOSS)
        losses.append(train(model))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.full
def test_a_saved_model_goes_on_with_both(tmp_path):
    model = make_wukong()
    model.compile(table_optimizer(), LOSS)
    train(model)
    path = str(tmp_path / "model.keras")
    model.save(path)
    other = keras.saving.load_model(path)
    assert train(other) == pytest.approx(train(model), rel=1e-5)


def test_a_pattern_for_tables_of_keras():
    model = keras.Sequential(
        [
            keras.Input((2,), dtype="int32"),
            keras.layers.Embedding(5, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    tables = RowwiseAdagrad(0.1)
    model.compile(table_optimizer(tables, pattern=".*/embeddings"), "mse")
    with backends.recording():
        model.train_on_batch(np.array([[0, 1], [1, 1]]), np.ones((2, 1)))
    assert [v.name for v in tables._trainable_variables] == ["embeddings"]
