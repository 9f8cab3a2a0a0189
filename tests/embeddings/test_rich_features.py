"""Units, bags, groups and several rows against NumPy, one id at a time."""

import dataclasses

import keras
import numpy as np
import pytest

from tests import backends
from tests.oracles import models as oracles
from tests.worlds import small_models
from tests.worlds.small_models import RICH
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    Task,
)
from wukong_tf.embeddings.unit_dropout import UnitDropout
from wukong_tf.models import build_model
from wukong_tf.runs.arrays import model_slots, read_arrays

CONFIG = small_models.wukong(RICH, num_layers=1, numeric_embeddings=2)
LOOKUPS = small_models.LOOKUPS


def arrays(model):
    return small_models.float64(read_arrays(model_slots(model)))


def embedded(model, inputs, **kwargs):
    tensors = backends.tensors(inputs)
    return backends.numpy(model.embed(tensors, **kwargs))


@LOOKUPS
def test_x_0_equals_numpy(lookup):
    model = small_models.make(CONFIG, lookup=lookup)
    inputs = small_models.inputs(40, spec=RICH)
    expected = oracles.embed(RICH, inputs, arrays(model), 6)
    assert expected.shape == (40, CONFIG.num_embeddings, 6)
    assert CONFIG.num_embeddings == 3 + 1 + 1 + 1 + 3 + 2 + 2 + 2
    np.testing.assert_allclose(
        embedded(model, inputs), expected, rtol=1e-4, atol=1e-5
    )


def test_the_logits_equal_numpy():
    model = small_models.make(CONFIG)
    inputs = small_models.inputs(20, spec=RICH)
    found = backends.numpy(model(backends.tensors(inputs))["click"])
    expected = oracles.wukong(CONFIG, inputs, arrays(model))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_logistic_regression_reads_one_weight_for_each_id_and_task():
    tasks = (Task("click", "a"), Task("buy", "b"))
    features = dataclasses.replace(RICH, tasks=tasks)
    config = LogisticRegressionConfig(features, 0.5)
    model = small_models.make(config)
    inputs = small_models.inputs(20, spec=RICH)
    weights = arrays(model)
    logit = weights["dense/bias"]
    for feature in RICH.categorical:
        logit = logit + oracles.lookup(feature, inputs, weights)
    where = "dense/feature_embedding/"
    for name, x in (
        ("numeric", oracles.numbers(RICH, inputs)),
        ("vector_content", inputs["content"]),
    ):
        path = f"{where}{name}/dense_0/"
        logit = logit + x @ weights[path + "kernel"] + weights[path + "bias"]
    found = model(backends.tensors(inputs))
    for index, task in enumerate(tasks):
        value = backends.numpy(found[task.name])
        assert value.shape == (20, 1)
        np.testing.assert_allclose(
            value[:, 0], logit[:, index], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("pooling", ["sum", "mean", "sqrtn"])
def test_empty_bags_and_weights_of_zero_give_zeros(pooling):
    bag = CategoricalFeature(
        "bag", 5, pooling=pooling, max_ids=3, weights="weights"
    )
    model = small_models.make(
        dataclasses.replace(
            CONFIG, features=FeatureSpec((bag,)), rank=1, num_layers=1
        )
    )
    inputs = {
        "bag": np.array([[0, 0, 0], [1, 2, 0], [3, 0, 0]], np.int32),
        "weights": np.array([[1, 1, 1], [0, 0, 9], [2, 7, 7]], np.float32),
    }
    rows = embedded(model, inputs)
    assert not rows[:2].any()
    scale = 2.0 if pooling == "sum" else 1.0
    (table,) = (a for n, a in arrays(model).items() if n == "tables/bag")
    np.testing.assert_allclose(rows[2, 0], scale * table[3], rtol=1e-6)


@backends.tensorflow_only
@LOOKUPS
def test_an_empty_bag_gives_no_gradient_and_no_nan(lookup):
    import tensorflow as tf

    model = small_models.make(CONFIG, lookup=lookup)
    inputs = small_models.inputs(8, spec=RICH)
    for name in ("seen", "tags", "words", "friends"):
        inputs[name] = np.zeros_like(inputs[name])
    variables = [layer.table.value for layer in model.tables]

    @tf.function
    def gradients(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs)["click"])
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]

    found, rows = gradients(backends.tensors(inputs)), []
    for layer, gradient in zip(model.tables, found, strict=True):
        touched = np.flatnonzero(np.any(gradient.numpy() != 0, axis=1))
        used = set()
        for name, offset in zip(
            layer.plan.features, layer.plan.offsets, strict=True
        ):
            if inputs[name].ndim == 1:
                used |= {int(i) + offset for i in inputs[name]}
        assert set(touched.tolist()) <= used
        assert not np.isnan(gradient).any()
        rows += touched.tolist()
    assert rows


def test_unit_dropout_draws_units_at_its_rate():
    layer, steps = UnitDropout([RICH.categorical[0]]), 400
    drawn = [int(backends.numpy(layer.draw())[0]) for _ in range(steps)]
    counts = np.bincount(drawn, minlength=4)
    # Half of the steps keep all three; the rest are even between 1 and 2.
    # Five standard deviations of a binomial count.
    for count, share in zip(counts, (0, 0.25, 0.25, 0.5), strict=True):
        spread = 5 * np.sqrt(steps * share * (1 - share))
        assert abs(count - steps * share) <= spread


def test_the_first_units_are_kept_as_they_were():
    spec = FeatureSpec((RICH.categorical[0],))
    model = small_models.make(dataclasses.replace(CONFIG, features=spec))
    inputs = small_models.inputs(4, spec=spec)
    full = embedded(model, inputs)
    assert np.all(np.any(full != 0, axis=2))
    np.testing.assert_array_equal(embedded(model, inputs, training=False), full)
    kept = set()
    for _ in range(20):
        rows = embedded(model, inputs, training=True)
        there = np.any(rows != 0, axis=2)  # [B, units]
        count = there[0].sum()
        kept.add(int(count))
        assert (there == (np.arange(3) < count)).all()  # one draw for all rows
        np.testing.assert_array_equal(rows[:, :count], full[:, :count])
    assert kept == {1, 2, 3}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_a_cut_feature_leaves_rows_of_zeros(keep):
    """The same weights but for the columns that are no longer there."""
    model = small_models.make(CONFIG)
    cut_spec = dataclasses.replace(
        RICH,
        categorical=tuple(
            dataclasses.replace(f, keep_units=keep) if f.units > 1 else f
            for f in RICH.categorical
        ),
    )
    cut = build_model(dataclasses.replace(CONFIG, features=cut_spec))
    weights = {
        name: array[:, : keep * 6] if name == "tables/user" else array
        for name, array in read_arrays(model_slots(model)).items()
    }
    from wukong_tf.runs.arrays import assign_slots

    assign_slots(model_slots(cut), weights)
    inputs = small_models.inputs(10, spec=RICH)
    full, found = embedded(model, inputs), embedded(cut, inputs)
    assert found.shape == full.shape
    expected = full.copy()
    expected[:, keep:3] = 0.0
    expected[:, 6 + keep : 9] = 0.0  # the bag of friends, on the same table
    np.testing.assert_array_equal(found, expected)
    assert not any(layer.plan.width == 18 for layer in cut.tables if keep < 3)


def test_a_keras_file_keeps_every_bit(tmp_path):
    model = small_models.make(CONFIG)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    assert loaded.config == CONFIG
    inputs = small_models.inputs(9, spec=RICH)
    np.testing.assert_array_equal(
        embedded(loaded, inputs), embedded(model, inputs)
    )
