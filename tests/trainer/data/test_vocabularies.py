"""Counting, merging and encoding of raw values, beside plain Python."""

import itertools
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from trainer.data import vocabularies
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.errors import ConfigError


def values(rows, seed=0):
    """Raw values of which few are frequent, some empty and some null."""
    generator = random.Random(seed)
    words = ["", None, *(str(number) for number in range(0, 300, 7))]
    weights = [1 / (place + 1) for place in range(len(words))]
    return generator.choices(words, weights, k=rows)


def batch(**columns):
    return pa.record_batch(
        {name: pa.array(rows, pa.string()) for name, rows in columns.items()}
    )


def counted(rows):
    result: dict = {}
    for value in rows:
        if value not in ("", None):
            result[value] = result.get(value, 0) + 1
    return result


def test_counts_are_those_of_values_that_are_not_empty():
    one, other = values(500), values(500, 1)
    found = vocabularies.count(batch(a=one, b=other, c=one), ["a", "b"])
    assert found == {"a": counted(one), "b": counted(other)}


def test_counts_of_no_rows_and_of_empty_ones():
    assert vocabularies.count(batch(a=[]), ["a"]) == {"a": {}}
    assert vocabularies.count(batch(a=["", None]), ["a"]) == {"a": {}}


@pytest.mark.parametrize("cuts", [[0, 400], [0, 1, 1, 250, 400]])
def test_parts_count_as_the_whole_in_any_order(cuts):
    one, other = values(400), values(400, 1)
    parts = [
        vocabularies.count(batch(a=one[i:j], b=other[i:j]), "ab")
        for i, j in itertools.pairwise(cuts)
    ]
    whole = {"a": counted(one), "b": counted(other)}
    for order in itertools.permutations(parts):
        merged: dict = {}
        for part in order:
            merged = vocabularies.merge(merged, part)
        assert merged == whole


def test_merging_leaves_the_parts_as_they_were():
    one, other = {"a": Counter(x=1)}, {"a": Counter(x=2), "b": Counter(y=1)}
    assert vocabularies.merge(one, other) == {"a": {"x": 3}, "b": {"y": 1}}
    assert one == {"a": {"x": 1}}
    assert other == {"a": {"x": 2}, "b": {"y": 1}}


@pytest.mark.parametrize("min_count", [1, 2, 3, 100])
def test_a_vocabulary_goes_by_count_and_then_by_number(min_count):
    counts = {"9": 2, "10": 2, "100": 5, "7": 1, "08": 1, "2": 3}
    by_hand = ["100", "2", "9", "10", "7", "08"]
    kept = [value for value in by_hand if counts[value] >= min_count]
    for order in (list(counts), by_hand, by_hand[::-1]):
        given = {value: counts[value] for value in order}
        feature = vocabularies.feature("f", given, min_count)
        assert feature == CategoricalFeature(
            "f", len(kept) + 3, oov_id=2, vocabulary=tuple(kept)
        )
    spec = FeatureSpec((feature,))
    assert FeatureSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("min_count", [1, 4, 10**6])
def test_ids_are_missing_unknown_or_of_the_vocabulary(min_count):
    train, other = values(300), [*values(300, 1), "1000", "07", " 7"]
    counts = counted(train)
    feature = vocabularies.feature("f", counts, min_count)
    kept = [value for value in counts if counts[value] >= min_count]
    kept.sort(key=lambda value: (-counts[value], int(value)))
    assert bool(kept) == (min_count < 10**6)
    for rows in (train, other, []):
        expected = [
            1
            if value in ("", None)
            else 3 + kept.index(value)
            if value in kept
            else 2
            for value in rows
        ]
        found = vocabularies.encode(feature, pa.array(rows, pa.string()))
        assert found.tolist() == expected
        assert found.dtype == np.int32
        assert 0 not in found and np.all(found < feature.num_ids)


def test_slices_are_encoded_as_their_own_rows():
    feature = vocabularies.feature("f", {"5": 2, "6": 1})
    array = pa.array(["6", "", None, "5", "9", "6"])
    found = vocabularies.encode(feature, array.slice(1, 4))
    assert found.tolist() == [1, 1, 3, 2]


def test_a_feature_without_a_vocabulary_knows_no_value():
    found = vocabularies.encode(CategoricalFeature("f", 9), pa.array(["1", ""]))
    assert found.tolist() == [2, 1]


def test_the_name_is_checked():
    with pytest.raises(ConfigError):
        vocabularies.feature("", {"1": 1})
