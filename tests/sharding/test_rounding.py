"""Rows and gradients that are exchanged as bfloat16."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.errors import assert_refused
from trainer.settings import Devices
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.embeddings.lookup import make_lookup
from wukong_tf.sharding import exchange
from wukong_tf.sharding.layout import Shards

# Half a bfloat16 above 1, which is rounded to even; a bit more; half above the
# next; the smallest float32 of full precision; and what has no finite value.
VALUES = [1 + 2**-8, 1 + 2**-8 + 2**-23, 1 + 3 * 2**-8, 2**-126, -np.inf]
ROUNDED = [1, 1 + 2**-7, 1 + 2**-6, 2**-126, -np.inf]


class Alone:
    """A group of one, which records the dtypes that it sends."""

    size, key = 1, 0

    def __init__(self):
        self.sent = []

    def all_gather(self, tensor, key):
        return tensor

    def all_to_all(self, tensor, key):
        self.sent.append(tensor.dtype)
        return tensor


@pytest.mark.parametrize(
    "narrow, dtype", [(True, tf.float16), (False, tf.float32)]
)
def test_values_and_gradients_are_rounded_to_even(narrow, dtype):
    group, value = Alone(), tf.constant([VALUES])
    with tf.GradientTape() as tape:
        tape.watch(value)
        found = exchange._exchanged(group, value, 1, 2, narrow)
    gradient = tape.gradient(found, value, tf.constant([VALUES[::-1]]))
    expected = np.float32([ROUNDED if narrow else VALUES])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(gradient, expected[:, ::-1])
    assert found.dtype == gradient.dtype == tf.float32
    assert group.sent == [dtype, dtype]  # bits of bfloat16


@pytest.mark.parametrize("narrow", [True, False])
def test_gradients_of_repeated_ids_are_summed_before_they_are_rounded(narrow):
    group = Alone()
    value = tf.Variable([[1.0], [1 + 2**-8]])
    table = types.SimpleNamespace(path="t", dtype="float32", value=value)
    ids = tf.constant([[1, 0, 1, 1]])
    with tf.GradientTape() as tape:
        read = exchange._read(group, Shards(2, 1, 0), table, ids, narrow)
    one = 1.0 if narrow else 1 + 2**-8
    np.testing.assert_array_equal(read[0, :, 0], [one, 1, one, one])
    # In bfloat16 each half of the last bit would be lost.
    upstream = tf.constant([1, 5, 2**-8, 2**-8], shape=(1, 4, 1))
    gradient = tape.gradient(read, value, tf.cast(upstream, tf.float32))
    np.testing.assert_array_equal(
        tf.convert_to_tensor(gradient), [[5], [1 + 2**-7]]
    )
    # Ids are not rounded.
    floats = tf.float16 if narrow else tf.float32
    assert group.sent == [tf.int32, floats, floats]


def test_a_table_on_one_worker_is_not_rounded():
    table = keras.Variable([[1 + 2**-20]])
    found = make_lookup("sharded")(table, tf.constant([[0]]), "bfloat16")
    assert found.numpy().item() == 1 + 2**-20


def test_only_training_steps_round():
    spec = FeatureSpec((CategoricalFeature("a", 3),))
    embedding = FeatureEmbedding(spec, 2, sharded_tables=["a"])
    embedding.build()
    (layer,) = embedding.tables
    dtypes = []

    def lookup(table, ids, exchange_dtype="float32"):
        dtypes.append(exchange_dtype)
        return tf.gather(table.value, ids)

    layer.lookup = lookup
    for dtype in ("float32", "bfloat16"):
        layer.exchange_dtype = dtype
        for training in (None, False, True):
            embedding({"a": np.array([1])}, training=training)
    assert dtypes == ["float32"] * 5 + ["bfloat16"]


@pytest.mark.parametrize("dtype", ["float16", "", "bfloat"])
def test_other_dtypes_are_refused(dtype):
    assert_refused(
        lambda: Devices(sharded_exchange_dtype=dtype),
        "--sharded_exchange_dtype",
        "['float32', 'bfloat16']",
        repr(dtype),
    )
