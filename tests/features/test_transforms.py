"""From raw columns to inputs, against NumPy, eager and in a graph."""

import numpy as np
import pytest
import tensorflow as tf

from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
)
from wukong_tf.features import encode, encode_served, signature

SPEC = FeatureSpec(
    categorical=(
        CategoricalFeature("user", 10),
        CategoricalFeature("item", 6, oov_id=2),
    ),
    numeric=(
        NumericFeature("age"),
        NumericFeature("price", "log1p", mean=0.5, stddev=2.0),
        NumericFeature("level", mean=-3.0, stddev=0.25),
    ),
    vector=(VectorFeature("content", 3),),
    weight="importance",
)
MODES = pytest.mark.parametrize("compiled", [False, True])


def make_columns(rows=7, seed=0):
    random = np.random.default_rng(seed)
    return {
        "user": random.integers(0, 10, rows),
        "item": random.integers(0, 6, rows),
        "age": random.normal(size=rows) * 50,
        "price": np.array([0, -1, 1, 1e6, -1e6, 0.5, 1e-4])[:rows],
        "level": random.normal(size=rows),
        "content": random.normal(size=(rows, 3)),
        "label": np.ones(rows),
        "importance": np.ones(rows),
    }


def run(function, columns, compiled):
    """The function of the columns, with those of the served signature."""
    specs = signature(SPEC)
    tensors = {
        name: tf.constant(columns[name], spec.dtype)
        for name, spec in specs.items()
    }
    if compiled:
        call = tf.function(lambda raw: function(SPEC, raw))
        call = call.get_concrete_function(specs)
        return call(*[tensors[name] for name in sorted(tensors)])
    return function(SPEC, tensors)


@MODES
@pytest.mark.parametrize("function", [encode, encode_served])
def test_columns_in_range_are_kept_and_numbers_stay_raw(function, compiled):
    columns = make_columns()
    found = run(function, columns, compiled)
    expected = {name: columns[name] for name in SPEC.feature_names}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-6)
        kind = tf.int64 if name in ("user", "item") else tf.float32
        assert found[name].dtype == kind
        assert found[name].shape == value.shape


def test_training_and_serving_agree_bit_for_bit():
    columns = make_columns()
    served = run(encode_served, columns, True)
    trained = encode(SPEC, {k: tf.constant(v) for k, v in columns.items()})
    for name, value in trained.items():
        np.testing.assert_array_equal(served[name], value)


def test_encode_keeps_the_readers_int32_ids():
    columns = make_columns()
    columns["user"] = columns["user"].astype(np.int32)
    assert encode(SPEC, columns)["user"].dtype == np.int32


@MODES
def test_ids_out_of_range_become_the_oov_id(compiled):
    columns = make_columns()
    columns["item"] = np.array([-1, 0, 5, 6, 2**40, -(2**40), 3])
    found = run(encode_served, columns, compiled)
    assert found["item"].numpy().tolist() == [2, 0, 5, 2, 2, 2, 3]
    np.testing.assert_array_equal(found["user"], columns["user"])


@MODES
@pytest.mark.parametrize("bad", [-1, 10, 2**40])
def test_ids_out_of_range_without_oov_id_are_refused(bad, compiled):
    columns = make_columns()
    columns["user"][3] = bad
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        run(encode_served, columns, compiled)
    message = str(error.value).replace("\\", "")
    assert "must be an id in [0, 10)" in message
    assert str(bad) in message


@pytest.mark.parametrize("bad", [-1, 10])
def test_ids_out_of_range_read_no_row_where_assertions_are_dropped(
    bad, monkeypatch
):
    monkeypatch.setattr(tf.debugging, "Assert", lambda *_: None)
    columns = make_columns()
    columns["user"][3] = bad
    ids = run(encode_served, columns, False)["user"]
    assert np.flatnonzero(ids != columns["user"]).tolist() == [3]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.gather(tf.zeros([1000, 2]), ids)


def test_signature():
    specs = signature(SPEC)
    assert list(specs) == list(SPEC.feature_names)
    assert specs["user"] == tf.TensorSpec([None], tf.int64, "user")
    assert specs["price"] == tf.TensorSpec([None], tf.float32, "price")
    assert specs["content"] == tf.TensorSpec([None, 3], tf.float32, "content")
