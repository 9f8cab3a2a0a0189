"""TensorFlow Recommenders' lookup against keras.ops.take, one weight set."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.worlds import small_models
from tests.worlds.small_models import CONFIG, SPEC, TABLES
from trainer.checkpoints import store
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.steps import global_loss, make_train_step
from wukong_tf import runs
from wukong_tf.models import Wukong
from wukong_tf.optimizers import ClippedAdam, OptimizerGroups, RowwiseAdagrad
from wukong_tf.optimizers.groups import TABLES as TABLES_PATTERN
from wukong_tf.runs.arrays import model_slots, read_arrays, read_slots

LOOKUPS = ("take", "tfrs")
ROWS = 6


def make_batch(seed):
    batch = {**small_models.inputs(ROWS, seed), GLOBAL_ROWS: np.float32(ROWS)}
    batch["label"] = small_models.labels(ROWS, seed)
    return {name: tf.constant(value) for name, value in batch.items()}


def arrays(model):
    return read_arrays(model_slots(model))


def make_groups(model):
    groups = OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (RowwiseAdagrad(0.1, l2=0.01), TABLES_PATTERN),
            "dense": (ClippedAdam(0.01, global_clipnorm=1.0), None),
        },
    )
    groups.build()
    return groups


@pytest.fixture(scope="module")
def models():
    """A model of each lookup, made from the same seed."""
    made = {}
    for lookup in LOOKUPS:
        keras.utils.set_random_seed(7)
        made[lookup] = Wukong(CONFIG, lookup=lookup)
    return made


@pytest.fixture(scope="module")
def trained():
    """Of each lookup: the weights before, after one and after five steps."""
    found = {}
    for lookup in LOOKUPS:
        keras.utils.set_random_seed(7)
        model = Wukong(CONFIG, lookup=lookup)
        step = tf.function(make_train_step(model, make_groups(model)))
        history = [arrays(model)]
        losses = []
        for seed in range(5):
            losses.append(float(step(make_batch(seed))))
            history.append(arrays(model))
        found[lookup] = (model, history, losses)
    return found


def assert_equal(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(
            value, other[name], err_msg=name, **(tolerance or {"rtol": 0})
        )


def test_the_same_seed_makes_the_same_weights(models):
    take, tfrs = (arrays(models[lookup]) for lookup in LOOKUPS)
    assert_equal(take, tfrs)
    paths = [[v.path for v in models[k].trainable_variables] for k in LOOKUPS]
    assert paths[0] == paths[1]


def test_scores_are_equal(models):
    inputs = small_models.inputs(20)
    take, tfrs = (
        small_models.numpy(models[lookup](inputs)["click"])
        for lookup in LOOKUPS
    )
    np.testing.assert_allclose(take, tfrs, rtol=1e-6, atol=1e-7)


def test_gradients_are_equal(models):
    batch = make_batch(0)
    inputs = {name: batch[name] for name in SPEC.feature_names}
    found = {}
    for lookup, model in models.items():
        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = global_loss(SPEC, model(inputs), batch)
        gradients = tape.gradient(loss, variables)
        paths = [v.path for v in model.trainable_variables]
        for path, gradient in zip(paths, gradients, strict=True):
            sparse = isinstance(gradient, tf.IndexedSlices)
            assert sparse == path.endswith("/table"), path
        found[lookup] = {
            path: tf.convert_to_tensor(gradient).numpy()
            for path, gradient in zip(paths, gradients, strict=True)
        }
    assert_equal(found["take"], found["tfrs"], rtol=1e-5, atol=1e-7)
    for path, gradient in found["take"].items():
        assert np.abs(gradient).max() > 0, path


def test_five_training_steps_are_equal(trained):
    (_, take, losses), (_, tfrs, others) = (trained[k] for k in LOOKUPS)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for one, other in zip(take, tfrs, strict=True):
        assert_equal(one, other, rtol=1e-4, atol=1e-6)
    moved = [np.abs(take[-1][n] - take[0][n]).max() for n in take[0]]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_every_table_is_trainable_once(models, lookup):
    model = models[lookup]
    paths = [variable.path for variable in model.trainable_variables]
    assert sorted(p for p in paths if p.endswith("/table")) == [
        f"wukong/feature_embedding/{name}/table" for name in sorted(TABLES)
    ]
    assert model.non_trainable_variables == []
    rows = {
        f.table_name: (f.num_ids, f.embedding_dim or 6)
        for f in SPEC.categorical
    }
    sizes = sum(count * width for count, width in rows.values())
    assert sizes == sum(
        np.size(value)
        for name, value in arrays(model).items()
        if name.startswith("tables/")
    )


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_one_step_moves_the_rows_of_the_batch_and_no_others(trained, lookup):
    _, history, _ = trained[lookup]
    batch = make_batch(0)
    for table in ("user", "city", "item", "shop"):
        ids = [
            batch[feature.name].numpy()
            for feature in SPEC.categorical
            if feature.table_name == table
        ]
        name = f"tables/{table}"
        moved = (history[1][name] != history[0][name]).any(axis=1)
        assert moved.any() and not moved.all()
        assert np.flatnonzero(moved).tolist() == np.unique(ids).tolist()


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_every_table_is_in_the_checkpoint(trained, lookup, tmp_path):
    model, history, _ = trained[lookup]
    store.save(str(tmp_path), 5, {}, read_slots(model_slots(model)))
    ((_, path),) = runs.checkpoint_paths(str(tmp_path))
    found = runs.open_checkpoint(path)
    assert set(found) >= {"tables/user", "tables/city", "tables/item"}
    assert_equal(dict(found), history[-1])


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_every_table_is_in_the_keras_file(trained, lookup, tmp_path):
    model, history, _ = trained[lookup]
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(arrays(other), history[-1])
    inputs = small_models.inputs(9)
    np.testing.assert_allclose(
        small_models.numpy(other(inputs)["click"]),
        small_models.numpy(model(inputs)["click"]),
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_every_table_is_in_the_saved_model(trained, lookup, tmp_path):
    model, history, _ = trained[lookup]
    inputs = {k: tf.constant(v) for k, v in small_models.inputs(9).items()}
    specs = {
        name: tf.TensorSpec([None, *value.shape[1:]], value.dtype, name)
        for name, value in inputs.items()
    }
    module = tf.Module()
    module.model = model
    module.score = tf.function(
        lambda batch: model(batch)["click"], input_signature=[specs]
    )
    tf.saved_model.save(module, tmp_path / "model")
    variables = tf.train.load_checkpoint(
        str(tmp_path / "model" / "variables" / "variables")
    )
    stored = [
        variables.get_tensor(name)
        for name, shape in variables.get_variable_to_shape_map().items()
        if len(shape) == 2
    ]
    for names in TABLES.values():
        table = np.concatenate([history[-1][f"tables/{n}"] for n in names])
        assert any(np.array_equal(table, value) for value in stored), names
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(
        loaded.score(inputs), model(inputs)["click"], rtol=1e-6, atol=1e-7
    )


def test_the_engine_looks_up_the_weight_that_keras_owns(models):
    """A value that Keras assigns is what the lookup reads."""
    keras.utils.set_random_seed(8)
    model = Wukong(CONFIG, lookup="tfrs")
    table = model.tables[0].table
    table.assign(np.arange(np.prod(table.shape)).reshape(table.shape))
    ids = np.array([[0, 1], [12, 4]], np.int32)
    found = small_models.numpy(model.tables[0](ids))
    rows = ids + np.array([0, 13])
    np.testing.assert_array_equal(found, small_models.numpy(table)[rows])
