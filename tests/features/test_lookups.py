"""Raw values to ids: the vocabulary, the hash and what is missing."""

import numpy as np
import pytest
import tensorflow as tf

from export.client.encode import Encoder
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.features import Lookups, encode_served, signature

WORDS = ("b", "a", "é", "a b")
CITY = CategoricalFeature(
    "city", 9, raw="string", vocabulary=WORDS, oov_buckets=2
)
SEEN = CategoricalFeature(
    "seen",
    9,
    table="city",
    raw="string",
    oov_buckets=2,
    pooling="sum",
    max_ids=2,
)
USER = CategoricalFeature("user", 50, raw="int64")
SHOP = CategoricalFeature(
    "shop", 6, raw="int64", vocabulary=("7", "-3", "12"), missing_value=0
)
AGE = CategoricalFeature("age", 7, raw="float", boundaries=(18.0, 30.0, 65.5))
SPEC = FeatureSpec((CITY, SEEN, USER, SHOP, AGE))


def bucket(text, buckets):
    """The published hash, by TensorFlow's own operation."""
    return int(tf.strings.to_hash_bucket_fast([text], buckets)[0])


@pytest.fixture(params=["memory", "files"])
def lookups(request, tmp_path):
    folder = str(tmp_path) if request.param == "files" else None
    return Lookups(SPEC, folder)


def ids(lookups, feature, values, dtype=None):
    found = lookups.ids(feature, tf.constant(values, dtype))
    assert found.dtype == tf.int64
    return found.numpy().tolist()


def test_a_vocabulary_comes_after_its_buckets(lookups):
    found = ids(lookups, CITY, ["a", "", "é", "b", "a b", "c", "A"])
    assert found[:5] == [5, 1, 6, 4, 7]
    assert found[5:] == [2 + bucket("c", 2), 2 + bucket("A", 2)]


def test_a_bag_shares_the_vocabulary_and_has_padding(lookups):
    found = ids(lookups, SEEN, [["a", ""], ["c", "b"]])
    assert found == [[5, 0], [2 + bucket("c", 2), 4]]


def test_without_a_vocabulary_all_values_are_hashed(lookups):
    values = [0, 17, -5, 2**62, -1]
    found = ids(lookups, USER, values, tf.int64)
    assert found == [2 + bucket(str(v), 48) for v in values[:4]] + [1]
    assert all(2 <= each < 50 for each in found[:4])


def test_integers_are_looked_up_by_their_decimal_text(lookups):
    assert ids(lookups, SHOP, [12, 7, -3, 0, 8], tf.int64) == [5, 3, 4, 1, 2]


def test_numbers_fall_into_buckets(lookups):
    values = [17.9, 18.0, 29.0, 65.5, 1e30, -1e30, np.nan]
    assert ids(lookups, AGE, values, tf.float32) == [3, 4, 4, 6, 6, 3, 1]


def test_denormal_numbers_fall_into_the_bucket_of_zero():
    """Some engines read them as 0; the client's encoder does as the graph."""
    feature = CategoricalFeature("f", 6, raw="float", boundaries=(-1.0, 0.0))
    spec = FeatureSpec((feature,))
    values = np.array([-1e-45, 1e-40, 0.0, -1e-37], "float32")
    found = ids(Lookups(spec), feature, values, tf.float32)
    assert found == [5, 5, 5, 4]
    encoder = Encoder(spec.to_dict())
    assert encoder.ids({"f": values})["f"].tolist() == found


def test_a_request_is_read_through_the_lookups(lookups):
    columns = {
        "city": tf.constant(["b", "zz"]),
        "seen": tf.constant([["a", ""], ["", ""]]),
        "user": tf.constant([5, -1], tf.int64),
        "shop": tf.constant([7, 0], tf.int64),
        "age": tf.constant([20.0, np.nan]),
    }
    for name, spec in signature(SPEC).items():
        assert spec.is_compatible_with(columns[name]), name
    found = encode_served(SPEC, columns, lookups)
    for feature in SPEC.categorical:
        np.testing.assert_array_equal(
            found[feature.name], lookups.ids(feature, columns[feature.name])
        )
    with pytest.raises(ValueError, match="'city'.*`lookups`"):
        encode_served(SPEC, columns)


def test_an_empty_vocabulary_leaves_buckets_alone(tmp_path):
    feature = CategoricalFeature("x", 4, raw="string", vocabulary=())
    found = Lookups(FeatureSpec((feature,)), str(tmp_path))
    assert found.ids(feature, tf.constant(["a", ""])).numpy().tolist() == [2, 1]


def test_a_graph_gives_the_same_ids(lookups):
    values = tf.constant(["a", "", "zz", "é"])
    traced = tf.function(lambda v: lookups.ids(CITY, v))
    np.testing.assert_array_equal(traced(values), lookups.ids(CITY, values))


@pytest.mark.parametrize("folder", [None, "files"])
def test_a_value_with_a_line_break_has_an_id_of_its_own(folder, tmp_path):
    words = ("a\nb", "a", "b", "c\r\n", "c")
    feature = CategoricalFeature("x", 8, raw="string", vocabulary=words)
    where = folder and str(tmp_path)
    lookups = Lookups(FeatureSpec((feature,)), where)
    ids = lookups.ids(feature, tf.constant([*words, "d"])).numpy()
    assert ids.tolist() == [3, 4, 5, 6, 7, 2]
