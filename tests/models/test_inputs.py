"""Inputs that break a rule are refused by name; export needs no arguments."""

import keras
import numpy as np
import pytest

from tests import backends
from tests.worlds import small_models
from tests.worlds.small_models import RICH, SPEC, numpy
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
)
from wukong_tf.config.columns import columns
from wukong_tf.errors import DataError
from wukong_tf.models import ClickModel


@pytest.fixture(scope="module")
def model():
    return small_models.make(LogisticRegressionConfig(RICH))


def good():
    return small_models.inputs(4, spec=RICH)


def without(name):
    return {key: value for key, value in good().items() if key != name}


def changed(name, value):
    return {**good(), name: value}


def last_id(name, value, dtype=np.int32):
    ids = good()[name].astype(dtype)
    ids[-1] = value
    return changed(name, ids)


CASES = {
    "no dict": ([1, 2], ["must be a dict", "received list"]),
    "a missing key": (without("item"), ["'item'", "missing", "'city'"]),
    "missing weights": (without("tag_weights"), ["'tag_weights'", "missing"]),
    "a list": (changed("item", [1, 2, 3, 4]), ["'item'", "array", "list"]),
    "texts": (changed("item", np.array(["259"] * 4)), ["'item'", "integer"]),
    "objects": (changed("price", np.array([None] * 4)), ["'price'", "object"]),
    "float ids": (changed("item", np.ones(4)), ["'item'", "ids", "float64"]),
    "flags": (changed("price", np.ones(4, bool)), ["'price'", "bool"]),
    "a narrow bag": (
        changed("seen", np.ones((4, 3), np.int32)),
        ["'seen'", "[B, 4]", "[4, 3]"],
    ),
    "a flat bag": (
        changed("seen", np.ones(4, np.int32)),
        ["'seen'", "[B, 4]", "[4]"],
    ),
    "a bag for an id": (
        changed("item", np.ones((4, 2), np.int32)),
        ["'item'", "[B] or [B, 1]", "[4, 2]"],
    ),
    "a number of no rank": (
        changed("age", np.float32(3.0)),
        ["'age'", "[B] or [B, 1]", "[]"],
    ),
    "a wide vector": (
        changed("content", np.ones((4, 5), np.float32)),
        ["'content'", "[B, 3]", "[4, 5]"],
    ),
    "another number of rows": (
        changed("age", np.ones(3, np.float32)),
        ["'age'", "as many rows as 'user', 4", "received 3"],
    ),
    "an id too large": (last_id("item", 11), ["'item'", "[0, 11)", "row 3"]),
    "a negative id": (last_id("item", -1), ["'item'", "received -1"]),
    "a huge id": (last_id("item", 2**40, np.int64), ["'item'", str(2**40)]),
    "a bag's id": (last_id("seen", 99), ["'seen'", "received 99 in row 3"]),
}
NAMES = pytest.mark.parametrize("name", CASES)


def refused(function, name):
    inputs, said = CASES[name]
    with pytest.raises(DataError) as error:
        function(inputs)
    for text in said:
        assert text in str(error.value), str(error.value)


@NAMES
def test_a_call_refuses(model, name):
    refused(model, name)


@NAMES
def test_predict_refuses(model, name):
    refused(lambda inputs: model.predict(inputs, verbose=0), name)


def test_fit_and_evaluate_refuse_before_they_train(model):
    model.compile("sgd", {"click": keras.losses.BinaryCrossentropy(True)})
    label = {"click": np.ones((4, 1), np.float32)}
    before = numpy(model.bias).copy()
    for name in ("an id too large", "a missing key", "texts"):
        refused(lambda x: model.fit(x, label, verbose=0), name)
        refused(lambda x: model.evaluate(x, label, verbose=0), name)
        refused(
            lambda x: model.fit(
                good(), label, validation_data=(x, label), verbose=0
            ),
            name,
        )
    np.testing.assert_array_equal(numpy(model.bias), before)


def test_tensors_are_looked_at_too(model):
    inputs = backends.tensors(good())
    bad = {**inputs, "item": keras.ops.convert_to_tensor([0, 1, 2, 11])}
    with pytest.raises(DataError, match=r"'item': ids must be in \[0, 11\)"):
        model(bad)


@pytest.mark.skipif(
    backends.BACKEND == "torch", reason="PyTorch runs as it is written."
)
def test_compiled_functions_check_what_they_know(model):
    call = backends.compiled(model)
    inputs = backends.tensors(good())
    np.testing.assert_allclose(
        numpy(call(inputs)["click"]), numpy(model(inputs)["click"]), rtol=1e-5
    )
    wide = {**inputs, "content": keras.ops.ones((4, 5))}
    # TensorFlow makes an error of its own of it, with the same text.
    with pytest.raises(Exception, match=r"'content' must be of shape \[B, 3\]"):
        call(wide)


def test_other_columns_are_not_looked_at(model):
    more = {**good(), "label": np.array(["a"] * 4), "day": object()}
    np.testing.assert_array_equal(
        numpy(model(more)["click"]), numpy(model(good())["click"])
    )


def test_columns_stand_in_the_order_of_the_spec():
    for spec in (SPEC, RICH):
        names = tuple(column.name for column in columns(spec))
        assert names == spec.feature_names


def signatures(path):
    import tensorflow as tf

    return tf.saved_model.load(str(path))


@pytest.mark.skipif(
    backends.BACKEND == "torch",
    reason="Keras writes no SavedModel of a dict of inputs from PyTorch.",
)
@pytest.mark.parametrize("reloaded", [False, True])
def test_export_without_arguments(tmp_path, reloaded):
    import tensorflow as tf

    model: ClickModel = small_models.make(LogisticRegressionConfig(RICH))
    expected = numpy(model(good())["click"])
    if reloaded:
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    loaded = signatures(tmp_path / "exported")
    specs = loaded.signatures["serving_default"].structured_input_signature[1]
    assert set(specs) == set(RICH.feature_names)
    for rows in (4, 1):
        sent = {
            name: tf.constant(good()[name][:rows], spec.dtype)
            for name, spec in specs.items()
        }
        found = np.asarray(loaded.serve(sent)["click"])
        np.testing.assert_allclose(found, expected[:rows], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(
    backends.BACKEND == "torch",
    reason="Keras writes no SavedModel of a dict of inputs from PyTorch.",
)
def test_export_of_any_names(tmp_path):
    import tensorflow as tf

    spec = FeatureSpec(
        (CategoricalFeature("item id", 5), CategoricalFeature("城市", 4))
    )
    model: ClickModel = small_models.make(LogisticRegressionConfig(spec))
    sent = {"item id": np.array([1, 4]), "城市": np.array([3, 0])}
    model.export(tmp_path / "exported", verbose=False)
    loaded = signatures(tmp_path / "exported")
    ids = next(iter(model.input_signature.values())).dtype
    tensors = {name: tf.constant(each, ids) for name, each in sent.items()}
    found = np.asarray(loaded.serve(tensors)["click"])
    np.testing.assert_allclose(found, numpy(model(sent)["click"]), rtol=1e-5)


class Batches(keras.utils.PyDataset):
    """Batches of inputs and labels, one after the other."""

    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    @property
    def num_batches(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches[index]


def as_dataset(batches):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(batches[0])
    for batch in batches[1:]:
        more = tf.data.Dataset.from_tensor_slices(batch)
        data = data.concatenate(more)
    return data.batch(4)


@pytest.mark.parametrize("form", [Batches, as_dataset, iter])
def test_batches_are_checked_as_they_come(form):
    """A bad id in the second batch; the first trains as arrays do."""
    model = small_models.make(LogisticRegressionConfig(RICH))
    other = small_models.make(LogisticRegressionConfig(RICH))
    label = {"click": np.ones((4, 1), np.float32)}
    for each in (model, other):
        loss = {"click": keras.losses.BinaryCrossentropy(True)}
        each.compile(keras.optimizers.SGD(0.1), loss)
    with backends.recording():
        model.fit(form([(good(), label)]), verbose=0)
        other.fit(good(), label, batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_allclose(numpy(model.bias), numpy(other.bias), rtol=1e-5)
    bad = [(good(), label), (last_id("item", 11), label)]
    with pytest.raises(Exception, match=r"'item.*ids must be in \[0, 11\)"):
        with backends.recording():
            model.fit(form(bad), verbose=0)
