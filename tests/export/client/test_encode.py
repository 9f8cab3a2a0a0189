"""The client's encoder beside TensorFlow's lookups, and its errors."""

import io
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export.client import encode
from export.client.encode import Encoder, fingerprint64
from tests.features.test_lookups import SPEC
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
)
from wukong_tf.features import Lookups

RICH = FeatureSpec(
    (
        *SPEC.categorical,
        CategoricalFeature("plain", 20),
        CategoricalFeature(
            "bag", 9, raw="string", pooling="mean", max_ids=3, weights="w"
        ),
    ),
    (NumericFeature("price"),),
    (VectorFeature("image", 2),),
)
ROW = {
    "city": "a",
    "seen": ["b"],
    "user": 5,
    "shop": 7,
    "age": 20.0,
    "plain": 3,
    "bag": ["x", "y"],
    "w": [0.5, 2.0],
    "price": 1.5,
    "image": [1.0, 2.0],
}


def test_the_hash_is_tensorflow_s_at_every_length():
    draw = random.Random(0)
    largest = 2**63 - 25
    for size in [*range(0, 200), 255, 256, 1000]:
        text = bytes(draw.randrange(256) for _ in range(size))
        expected = int(tf.strings.to_hash_bucket_fast([text], largest)[0])
        assert fingerprint64(text) % largest == expected, size


def test_ids_are_those_of_the_lookups():
    """Over words in and out of vocabulary, integers and numbers."""
    draw = random.Random(1)
    words = ["a", "b", "é", "a b", "", "zz", "中文", "x" * 70, "y" * 40]
    rows = [
        {
            **ROW,
            "city": draw.choice(words),
            "seen": [draw.choice(words) for _ in range(draw.randint(0, 2))],
            "user": draw.choice([0, -1, 5, 2**62, -(2**62)]),
            "shop": draw.choice([7, -3, 12, 0, 99]),
            "age": draw.choice([17.99, 18, 65.5, 1e9, float("nan")]),
        }
        for _ in range(300)
    ]
    found = Encoder(json.loads(RICH.to_json())).encode(rows)
    lookups = Lookups(RICH)
    for feature in SPEC.categorical:
        values = [row[feature.name] for row in rows]
        if feature.pooling:
            values = [bag + [""] * (2 - len(bag)) for bag in values]
        dtypes = {"int64": tf.int64, "float": tf.float32}
        values = tf.constant(values, dtypes.get(feature.raw))
        np.testing.assert_array_equal(
            found[feature.name], lookups.ids(feature, values)
        )


def test_every_kind_of_column_is_made():
    found = Encoder(RICH.to_dict()).encode([ROW, {**ROW, "bag": None, "w": []}])
    assert found["plain"].dtype == np.int64
    assert found["plain"].tolist() == [3, 3]
    assert (found["bag"] > 0).tolist() == [[True, True, False], [False] * 3]
    assert found["w"].tolist() == [[0.5, 2.0, 0.0], [0.0] * 3]
    assert found["price"].tolist() == [1.5, 1.5]
    assert found["image"].tolist() == [[1.0, 2.0]] * 2
    for name in ("w", "price", "image"):
        assert found[name].dtype == np.float32


def test_what_is_not_there_is_missing():
    row = {"plain": 1, "image": [0, 0]}
    found = Encoder(RICH.to_dict()).encode([row])
    assert [found[n].item() for n in ("city", "user", "shop", "age")] == [1] * 4
    assert found["seen"].tolist() == [[0, 0]]
    assert np.isnan(found["price"]).all()


def test_an_id_beyond_the_table_needs_an_oov_row():
    """The graph replaces it then; without one, no row is sent."""
    features = FeatureSpec(
        (
            CategoricalFeature("strict", 4),
            CategoricalFeature("lenient", 4, oov_id=3),
        )
    )
    encoder = Encoder(json.loads(features.to_json()))
    for strict in (0, 3):
        columns = encoder.encode([{"strict": strict, "lenient": 2**40}])
        assert columns["strict"].tolist() == [strict]
        assert columns["lenient"].tolist() == [2**40]
    with pytest.raises(ValueError, match="(?s)'strict'.*4"):
        encoder.encode([{"strict": 4, "lenient": 0}])


def test_integers_and_their_texts_are_one():
    encoder = Encoder(RICH.to_dict())
    draw = random.Random(2)
    numbers = [0, -2, 7, 2**63 - 1, -(2**63), *(draw.getrandbits(60),) * 3]
    for name in ("city", "user", "shop"):
        rows = [{**ROW, name: number} for number in numbers]
        texts = [{**ROW, name: str(number)} for number in numbers]
        one, other = encoder.encode(rows), encoder.encode(texts)
        np.testing.assert_array_equal(one[name], other[name])


def test_of_a_long_bag_the_first_values_count():
    encoder = Encoder(RICH.to_dict())
    cut = {**ROW, "seen": ["b", "a"], "bag": ["x", "y", "z"], "w": [3, 2, 1]}
    long = {
        **ROW,
        "seen": ["", "b", None, "a", "zz"],
        "bag": ["x", "y", "z", "x"],
        "w": [3, 2, 1, 9],
    }
    one, other = encoder.encode([cut]), encoder.encode([long])
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"city": 3.5}, ["'city'", "a string or an integer", "3.5"]),
        ({"user": "x5"}, ["'user'", "an integer", "'x5'"]),
        ({"user": "07"}, ["'user'", "an integer", "'07'"]),
        ({"user": 2**63}, ["'user'", "int64 can hold", str(2**63)]),
        ({"user": True}, ["'user'", "an integer"]),
        ({"plain": None}, ["'plain'", "an integer id", "None"]),
        ({"age": "old"}, ["'age'", "a number"]),
        ({"seen": "ab"}, ["'seen'", "a list"]),
        ({"w": [1.0]}, ["'w'", "one weight for each of 2"]),
        ({"price": "1"}, ["'price'", "a number"]),
        ({"price": np.complex64(1j)}, ["'price'", "a number"]),
        ({"image": [1.0]}, ["'image'", "2 numbers"]),
    ],
)
def test_a_bad_value_is_named(changes, words):
    _assert_named(changes, words)


def test_lists_in_lists_are_named():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for name in ("city", "age", "plain", "seen", "price"):
        _assert_named({name: deep}, [repr(name), "too deeply"])
    with pytest.raises(ValueError, match="line 2"):
        encode.read_rows(["{}", "[" * 100_000])


def _assert_named(changes, words):
    with pytest.raises(ValueError) as error:
        Encoder(RICH.to_dict()).encode([ROW, {**ROW, **changes}])
    for word in ["row 1 (from 0)", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "features",
    [
        {"numeric": [{"nom": "x"}]},
        {"vector": [{"name": "x"}]},
        {"categorical": [{"vocabulary": ["a"], "raw": "string"}]},
        {"categorical": [3]},
        {"numeric": 3},
        [],
    ],
)
def test_features_that_are_none_are_refused(features):
    with pytest.raises(ValueError, match="features.json"):
        Encoder(features)


def test_it_runs_where_nothing_else_is(tmp_path):
    """Copied away, without this project on the path."""
    copied = tmp_path / "encode.py"
    with open(encode.__file__, encoding="utf-8") as file:
        copied.write_text(file.read(), encoding="utf-8")
    features = tmp_path / "features.json"
    features.write_text(RICH.to_json(), encoding="utf-8")
    lines = "\n".join(json.dumps(row) for row in (ROW, ROW)) + "\n\n"
    command = [sys.executable, "-I", str(copied), f"--features={features}"]
    done = subprocess.run(
        command, input=lines.encode(), capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    inputs = np.load(io.BytesIO(done.stdout))
    expected = Encoder(RICH.to_dict()).encode([ROW, ROW])
    assert set(inputs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(inputs[name], value)
    bad = subprocess.run(command, input=b"{}\n3\n", capture_output=True)
    assert bad.returncode == 1 and b"line 2" in bad.stderr
