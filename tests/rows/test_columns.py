"""Arrow arrays in any layout give the same NumPy values, and rows' numbers."""

import numpy as np
import pyarrow as pa
import pytest

from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Task,
    VectorFeature,
)
from wukong_tf.errors import DataError
from wukong_tf.rows import columns
from wukong_tf.rows.checks import checks_from_spec
from wukong_tf.rows.schemas import check_type

SPEC = FeatureSpec(
    (CategoricalFeature("id", 50),),
    (NumericFeature("n"),),
    (VectorFeature("v", 2),),
    weight="w",
    group="g",
)
CHECKS = {check.name: check for check in checks_from_spec(SPEC)}
GOOD = {
    "id": [4, 0, 49, 7, 7, 1],
    "n": [1.5, -2.0, 0.0, 8.0, 0.25, 3.0],
    "v": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [0.0, -1.0], [2, 2]],
    "label": [0, 1, 1, 0, 0, 1],
    "w": [1.0, 0.0, 2.0, 0.5, 1.0, 4.0],
    "g": [9, -9, 0, 9, 2**40, 3],
}
KINDS = {
    "id": [pa.int8(), pa.uint64()],
    "n": [pa.float16(), pa.float64()],
    "v": [
        pa.list_(pa.float32()),
        pa.large_list(pa.float64()),
        pa.list_(pa.float32(), 2),
    ],
    "label": [pa.bool_(), pa.uint8(), pa.float64()],
    "w": [pa.float32()],
    "g": [pa.int64()],
}
BAD = {
    "id": 50,
    "n": float("inf"),
    "v": [0.0, float("nan")],
    "label": 3,
    "w": -0.5,
}
CASES = [(name, kind) for name in KINDS for kind in KINDS[name]]


def whole(values, kind):
    return pa.chunked_array([pa.array(values, kind)])


def sliced(values, kind):
    """The values between others, which must not be seen."""
    outer = pa.array([*values[:1], None, *values, None], kind)
    return pa.chunked_array([outer.slice(2, len(values))])


def chunked(values, kind):
    parts = (values[:1], [], values[1:4], values[4:])
    return pa.chunked_array([pa.array(part, kind) for part in parts], kind)


def chunks_of_slices(values, kind):
    array = pa.array(values, kind)
    return pa.chunked_array([array.slice(0, 3), array.slice(3)])


LAYOUTS = [whole, sliced, chunked, chunks_of_slices]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name, kind", CASES)
def test_values_are_the_same_in_every_layout(name, kind, layout):
    found = columns.read(
        "f",
        0,
        layout(pa.array(GOOD[name]).cast(kind).to_pylist(), kind),
        CHECKS[name],
    )
    expected = np.array(GOOD[name])
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape
    assert found.dtype == CHECKS[name].dtype


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("gap", [False, True])
def test_the_first_bad_row_is_numbered(name, layout, gap):
    """The fifth and the last are bad; the array begins at row 1000."""
    value = None if gap else BAD[name]
    values = [*GOOD[name][:4], value, value]
    kind = pa.array(GOOD[name]).type
    with pytest.raises(DataError) as error:
        columns.read("f", 1000, layout(values, kind), CHECKS[name])
    text = str(error.value)
    assert text.startswith(f"f: row 1004 (from 0), column {name!r}: must be ")
    assert CHECKS[name].rule in text
    assert text.endswith(
        "received no value."
        if gap
        else f"received {np.array(value) if name == 'v' else value}."
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "value, words",
    [
        ([1.0], "received 1 numbers"),
        ([1.0, 2.0, 3.0], "received 3 numbers"),
        ([], "received 0 numbers"),
        ([None, 1.0], "received a vector with a null"),
        ([1e300, 0.0], "received [1.e+300 0.e+000]"),
    ],
)
def test_the_first_bad_vector_is_numbered(layout, value, words):
    values = [*GOOD["v"][:3], value, value, GOOD["v"][5]]
    array = layout(values, pa.list_(pa.float64()))
    with pytest.raises(DataError) as error:
        columns.read("f", 64, array, CHECKS["v"])
    assert f"f: row 67 (from 0), column 'v': must be {CHECKS['v'].rule}" in str(
        error.value
    )
    assert words in str(error.value)


def test_a_fixed_size_that_is_not_the_vectors_is_refused():
    values = [[1.0, 2.0, 3.0]] * 4
    array = whole(values, pa.list_(pa.float32(), 3))
    with pytest.raises(DataError, match="row 5 .*received 3 numbers"):
        columns.read("f", 5, array, CHECKS["v"])


def test_labels_weights_and_groups_are_left_out_where_none_are_asked_for():
    names = [check.name for check in checks_from_spec(SPEC, labels=False)]
    assert names == ["id", "n", "v"]
    assert list(CHECKS) == ["id", "n", "v", "label", "w", "g"]


@pytest.mark.parametrize("first", [0, 1, 1000])
@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_row_is_named_by_its_number_in_the_file(first, place):
    values = list(GOOD["id"])
    values[place] = 50
    with pytest.raises(DataError, match=rf"row {first + place} \(from 0\)"):
        columns.read("file", first, pa.array(values), CHECKS["id"])


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_columns_that_are_there_are_listed(names):
    schema = pa.schema([(name, pa.int64()) for name in names])
    with pytest.raises(DataError) as caught:
        check_type("file", schema, CHECKS["id"])
    there = ", ".join(names) if names else "none"
    assert str(caught.value) == (
        f"file: column 'id' is missing; the columns are {there}."
    )


@pytest.mark.parametrize("may_be_missing", [False, True])
def test_the_rule_of_a_label_says_if_it_may_be_missing(may_be_missing):
    spec = FeatureSpec(
        SPEC.categorical, tasks=(Task(missing_labels=may_be_missing),)
    )
    (check,) = (c for c in checks_from_spec(spec) if c.name == "label")
    labels = pa.array([0, 1, 2])
    with pytest.raises(DataError) as caught:
        columns.read("file", 0, labels, check)
    rule = "a label of 0 or 1" + ", or missing" * may_be_missing
    assert f"must be {rule}; " in str(caught.value)
    labels = pa.array([0, None, 1])
    if not may_be_missing:
        with pytest.raises(DataError, match="row 1"):
            columns.read("file", 0, labels, check)
        return
    found = columns.read("file", 0, labels, check)
    np.testing.assert_array_equal(found, np.float32([0, np.nan, 1]))


def test_a_long_value_is_shortened_in_an_error():
    assert "..." not in columns._text(np.arange(16))
    assert "..." in columns._text(np.arange(17))
