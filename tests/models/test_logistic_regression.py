"""Logistic regression against its closed form."""

import keras
import numpy as np

from tests import backends
from tests.oracles import models as oracles
from tests.worlds import small_models
from tests.worlds.small_models import SPEC, numpy
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
)
from wukong_tf.models import LogisticRegression

CONFIG = LogisticRegressionConfig(SPEC)


@small_models.LOOKUPS
def test_logit_equals_the_closed_form(lookup):
    model = small_models.make(CONFIG, lookup=lookup)
    weights = small_models.float64(small_models.random_weights(model))
    inputs = small_models.float64(small_models.inputs(30))
    expected = oracles.logistic_regression(SPEC, inputs, weights)
    found = model(small_models.inputs(30))["click"]
    assert tuple(found.shape) == expected.shape == (30, 1)
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5, atol=1e-5)


def test_one_weight_for_each_id_and_number():
    """A table's rows, two numbers, vectors of 3 and 2, and four biases."""
    model = LogisticRegression(CONFIG)
    ids = {f.table_name: f.num_ids for f in SPEC.categorical}
    assert model.count_params() == sum(ids.values()) + 2 + 3 + 2 + 4


def test_a_row_adds_up():
    """Written out by hand: no oracle's code."""
    spec = FeatureSpec(
        (CategoricalFeature("a", 3), CategoricalFeature("b", 2)),
        (NumericFeature("x"),),
    )
    model = LogisticRegression(LogisticRegressionConfig(spec))
    model.tables[0].table.assign([[1.0], [2.0], [4.0], [8.0], [16.0]])
    (dense,) = model.feature_embedding.numeric_mlp.dense_layers
    dense.kernel.assign([[32.0]])
    dense.bias.assign([64.0])
    model.bias.assign([128.0])
    found = model(
        {
            "a": np.array([0, 2]),
            "b": np.array([1, 0]),
            "x": np.array([1, -1], np.float32),
        }
    )["click"]
    assert numpy(found).ravel().tolist() == [
        1 + 16 + 32 + 64 + 128,
        4 + 8 - 32 + 64 + 128,
    ]


def test_ids_start_at_zero_unless_told():
    assert not numpy(LogisticRegression(CONFIG).tables[0].table).any()
    config = LogisticRegressionConfig(SPEC, table_initial_scale=0.1)
    table = numpy(LogisticRegression(config).tables[0].table)
    assert 0 < np.abs(table).max() <= 0.1


def test_keras_file_keeps_every_bit(tmp_path):
    model = small_models.make(CONFIG)
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(other, LogisticRegression)
    assert other.config == CONFIG
    inputs = small_models.inputs(7)
    np.testing.assert_array_equal(
        numpy(model(inputs)["click"]), numpy(other(inputs)["click"])
    )


def test_fit_recovers_the_weights_of_the_log():
    """With one feature, the best logit of an id is that of its click rate."""
    spec = FeatureSpec((CategoricalFeature("a", 3),))
    model = LogisticRegression(LogisticRegressionConfig(spec))
    steps = 60
    ids = np.tile(np.repeat([0, 1, 2], 10), steps).astype(np.int32)
    rows = np.concatenate([np.arange(10) < n for n in (2, 5, 9)])
    clicks = np.tile(rows, steps).astype(np.float32)
    model.compile(
        keras.optimizers.SGD(8.0),
        {"click": keras.losses.BinaryCrossentropy(from_logits=True)},
    )
    data = ({"a": ids}, {"click": clicks[:, None]})
    with backends.recording():
        model.fit(*data, batch_size=30, shuffle=False, verbose=0)
    logits = numpy(model({"a": np.arange(3, dtype=np.int32)})["click"])
    rates = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(
        1 / (1 + np.exp(-logits.ravel())), rates, atol=2e-3
    )
