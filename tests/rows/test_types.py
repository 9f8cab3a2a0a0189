"""Rows as pandas and polars write them are read as their Python values."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
)
from wukong_tf.errors import DataError
from wukong_tf.rows import columns
from wukong_tf.rows.checks import checks_from_spec
from wukong_tf.rows.schemas import check_type

SPEC = FeatureSpec(
    (
        CategoricalFeature("id", 9),
        CategoricalFeature("bag", 9, pooling="mean", max_ids=3),
        CategoricalFeature("city", 5, raw="string", vocabulary=("b", "東京")),
        CategoricalFeature(
            "user", 5, raw="int64", vocabulary=("7", str(2**40))
        ),
        CategoricalFeature(
            "seen", 5, table="city", raw="string", pooling="sum", max_ids=2
        ),
    ),
    (NumericFeature("n", missing=0.0), NumericFeature("m")),
    (VectorFeature("v", 2),),
)
CHECKS = {check.name: check for check in checks_from_spec(SPEC)}
NAN = float("nan")


def read(name, array):
    """The column, its type checked as the trainer does."""
    schema = pa.schema([(name, array.type)])
    check_type("f", schema, CHECKS[name])
    return columns.read("f", 0, pa.chunked_array([array]), CHECKS[name])


CITIES = ["b", None, "東京", "x", ""]
CITY_IDS = [3, 1, 4, 2, 1]
USERS = [7, None, 2**40, 5]
USER_IDS = [3, 1, 4, 2]


@pytest.mark.parametrize(
    "name, array, wanted",
    [
        ("id", pa.array([3, 1, 3]).dictionary_encode(), [3, 1, 3]),
        ("city", pa.array(CITIES).dictionary_encode(), CITY_IDS),
        ("city", pa.array(CITIES, pa.string_view()), CITY_IDS),
        ("city", pa.array(CITIES, pa.large_string()), CITY_IDS),
        ("city", pa.nulls(2), [1, 1]),
        ("user", pa.array(USERS), USER_IDS),
        ("user", pa.array([7.0, NAN, 2.0**40, 5.0]), USER_IDS),
        ("user", pa.array([7.0, None, 2.0**40, 5.0]), USER_IDS),
        ("user", pa.array([u and Decimal(u) for u in USERS]), USER_IDS),
        ("user", pa.nulls(2), [1, 1]),
        ("n", pa.array([Decimal("1.5"), None]), [1.5, NAN]),
        ("n", pa.array([1.5, None], pa.float16()), [1.5, NAN]),
        ("n", pa.nulls(2), [NAN, NAN]),
        ("n", pa.array([4, 4]).dictionary_encode(), [4, 4]),
        ("m", pa.array([Decimal("1.5")]), [1.5]),
        ("label", pa.array([Decimal(1), Decimal(0)]), [1, 0]),
        ("bag", pa.array([[1, 2], None], pa.list_view(pa.int8())), None),
        ("bag", pa.array([[], None]), [[0, 0, 0]] * 2),
        ("bag", pa.nulls(2), [[0, 0, 0]] * 2),
        ("seen", pa.array([[], None]), [[0, 0]] * 2),
        ("v", pa.array([[Decimal("1.5"), Decimal(2)]]), [[1.5, 2]]),
        ("v", pa.array([[1.5, 2]], pa.list_(pa.float16(), 2)), [[1.5, 2]]),
    ],
    ids=lambda value: str(getattr(value, "type", ""))[:30],
)
def test_values_are_those_of_python(name, array, wanted):
    if wanted is None:
        rows = [row or [] for row in array.to_pylist()]
        wanted = [row + [0] * (3 - len(row)) for row in rows]
    np.testing.assert_array_equal(read(name, array), np.array(wanted))


def test_bags_of_categories():
    words = pa.array([["b", "x"], None, ["東京"]])
    kind = pa.list_(pa.dictionary(pa.int8(), pa.string()))
    for array in (words, words.cast(pa.large_list(pa.string()))):
        np.testing.assert_array_equal(
            read("seen", array), [[3, 2], [0, 0], [4, 0]]
        )
    encoded = pa.array([["b", "x"], None, ["東京"]], kind)
    np.testing.assert_array_equal(
        read("seen", encoded), [[3, 2], [0, 0], [4, 0]]
    )


@pytest.mark.parametrize(
    "name, array, named",
    [
        ("user", pa.array([7.0, 7.5]), "row 1 .*an integer"),
        ("user", pa.array([7.0, 2.0**53]), "row 1 .*an integer"),
        ("user", pa.array([Decimal("7.0"), Decimal("7.5")]), "row 1 "),
        ("user", pa.array([Decimal(7), Decimal(2**70)]), "row 1 "),
        ("m", pa.nulls(2), "row 0 .*received no value"),
        ("id", pa.nulls(2), "row 0 .*received no value"),
        ("v", pa.nulls(2), "row 0 .*received no value"),
        ("label", pa.array([0.0, NAN]), "row 1 .*received nan"),
        (
            "city",
            pa.array([{"a": 1}]),
            "must be strings or integers; it is struct<a",
        ),
        ("n", pa.array([[1]]), "must be numbers; it is list<"),
        ("v", pa.array([[[1.0]]]), "lists of lists"),
    ],
)
def test_others_are_refused_by_row_or_type(name, array, named):
    with pytest.raises(DataError, match=named) as error:
        read(name, array)
    assert f"column {name!r}" in str(error.value)
