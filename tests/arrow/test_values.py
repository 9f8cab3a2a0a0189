"""Texts, numbers and lists, against Python's own values of the same."""

import json
import math
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wukong_tf.arrow import lists
from wukong_tf.arrow.errors import InvalidValue, UnsupportedType
from wukong_tf.arrow.numbers import numbers
from wukong_tf.arrow.texts import texts

INTEGERS = [7, 0, None, -3, 12]


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.decimal128(10, 0),
        pa.decimal128(10, 3),
        pa.decimal32(5, 1),
        pa.decimal256(40, 2),
        pa.dictionary(pa.int8(), pa.int64()),
    ],
)
def test_an_integer_has_one_text_whatever_its_type(kind):
    array = pa.array(INTEGERS)
    if pa.types.is_dictionary(kind):
        array = array.dictionary_encode()
    elif pa.types.is_decimal(kind):
        decimals = [each and Decimal(each) for each in INTEGERS]
        array = pa.array(decimals, kind)
    else:
        array = array.cast(kind)
    assert texts(array).to_pylist() == [
        "" if value is None else str(value) for value in INTEGERS
    ]
    read = numbers(array)
    assert [None if math.isnan(v) else v for v in read] == INTEGERS


def test_a_gap_among_floats_is_missing_and_large_integers_stay():
    array = pa.array([float("nan"), 2.0**53 - 1, None, -0.0])
    assert texts(array).to_pylist() == ["", str(2**53 - 1), "", "0"]
    whole = pa.array([2**63 - 1, -(2**63)])
    assert texts(whole).to_pylist() == [str(2**63 - 1), str(-(2**63))]
    assert texts(pa.array([Decimal(2**100)])).to_pylist() == [str(2**100)]
    wide = pa.array([Decimal(0), Decimal(-7), None], pa.decimal128(30, 20))
    assert texts(wide).to_pylist() == ["0", "-7", ""]


@pytest.mark.parametrize(
    "array, named",
    [
        (pa.array([1.0, 1.5]), r"received 1\.5"),
        (pa.array([1.0, 2.0**53]), r"below 2\^53"),
        (pa.array([1.0, 2.0**24], pa.float32()), r"below 2\^24"),
        (pa.array([1.0, 2.0**11], pa.float16()), r"below 2\^11"),
        (pa.array([1.0, float("inf")]), "received inf"),
        (pa.array([Decimal("1.00"), Decimal("1.50")]), r"received '1\.50'"),
        (pa.array([b"a", "é".encode("latin-1")]), "UTF-8"),
    ],
)
def test_an_id_that_is_not_exact_is_refused_by_row(array, named):
    with pytest.raises(InvalidValue, match=named) as error:
        texts(array)
    assert error.value.row == 1


def test_bools_bytes_and_nulls():
    assert texts(pa.array([True, None])).to_pylist() == ["true", ""]
    assert texts(pa.array(["é".encode()])).to_pylist() == ["é"]
    assert texts(pa.nulls(2)).to_pylist() == ["", ""]
    assert np.isnan(numbers(pa.nulls(2))).all()
    assert numbers(pa.array([True, False])).tolist() == [1.0, 0.0]
    seconds = pa.array([1500, None], pa.duration("ms"))
    np.testing.assert_array_equal(numbers(seconds), [1.5, np.nan])
    for wrong in (pa.array([1], pa.duration("s")), pa.array([[1]])):
        with pytest.raises(UnsupportedType):
            texts(wrong)
    with pytest.raises(UnsupportedType):
        numbers(pa.array([1], pa.date32()))


def test_named_texts_are_missing():
    raw = pa.array(["n/a", "3", " ", "-", None])
    assert texts(raw, ("n/a", "-")).to_pylist() == ["", "3", " ", "", ""]
    found = numbers(raw, ("n/a", "-"))
    np.testing.assert_array_equal(found, [np.nan, 3, np.nan, np.nan, np.nan])


GOOD = ["0", "-1", "+2.5", ".5", "7.", "1e3", "1E-3", "-.5e+2", "007", " 4\t"]
BAD = ["1_0", "１", "0x10", "1e", "--1", "1,5", "1 0", "a", "1d", "٣", "e5"]
BAD += ["nan(1)", "-nan", "\u20035", ".", "+", "1.5.2", "$3", "5%", "true"]


def test_a_number_is_what_the_grammar_says():
    assert numbers(pa.array(GOOD)).tolist() == [float(each) for each in GOOD]
    for each in BAD:
        with pytest.raises(InvalidValue, match="decimal number") as error:
            numbers(pa.array(["1", "", "nan", each, "x"]))
        assert error.value.row == 3 and error.value.value == each.strip(" \t")


def test_nan_is_missing_and_infinity_refused_in_text_as_in_floats():
    for nan in ("nan", "NaN", "NAN"):
        assert np.isnan(numbers(pa.array([nan, "1"]))[0])
    for text in ("inf", "-Infinity", "1e400", "1e39"):
        for array in (pa.array([text]), pa.array([float(text)])):
            with pytest.raises(InvalidValue, match="a finite float32"):
                numbers(array)


_TEXT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789+-.eE_ xn１", max_size=7))
def test_any_text_is_a_number_by_the_grammar_or_refused(text):
    bare = text.strip(" ")
    try:
        found = numbers(pa.array([text]))[0]
    except InvalidValue:
        assert bare and (
            not _TEXT.fullmatch(bare) or not abs(float(bare)) < 3.4028236e38
        )
    else:
        assert not bare or _TEXT.fullmatch(bare)
        np.testing.assert_equal(found, float(bare) if bare else np.nan)


_ITEMS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.integers(),
        st.none(),
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(_ITEMS, st.sampled_from([repr, json.dumps, lambda v: repr(tuple(v))]))
def test_lists_as_python_and_json_write_them(items, write):
    wanted = [None if item is None else str(item) for item in items]
    assert lists.items_of(write(items)) == wanted


@pytest.mark.parametrize(
    "text, items",
    [
        ("[a, new york]", ["a", "new york"]),
        ("['a' 'b']", ["a", "b"]),
        ("", []),
        ("[]", []),
        ("[1, nan, null]", ["1", None, None]),
        ("['a',]", ["a"]),
        *((bad, None) for bad in ("a", "[", "['a", "[[1]]", "{'a'}", "[1 'a]")),
        *((bad, None) for bad in ("['a'b]", "[,]", "['\\ud800']", "'a', 'b'")),
    ],
)
def test_texts_that_are_lists_and_others(text, items):
    assert lists.items_of(text) == items


def bags(array, **options):
    rows, flat = lists.list_texts(array, **options)
    found: list[list[str]] = [[] for _ in range(len(array))]
    for row, text in zip(rows, flat.to_pylist(), strict=True):
        found[row].append(text)
    return found


def test_bags_are_the_same_from_lists_and_from_texts():
    wanted = [["1", "2"], [], [], ["3"]]
    values = [[1, 2], None, [], [None, 3]]
    for kind in (pa.int8(), pa.float64(), pa.string()):
        array = pa.array(
            [
                each
                and [v and (str(v) if kind == pa.string() else v) for v in each]
                for each in values
            ],
            pa.list_(kind),
        )
        assert bags(array) == wanted
        assert bags(array.cast(pa.large_list(kind))) == wanted
    assert bags(pa.array(["1|2", None, "", "|3"]), separator="|") == wanted
    assert bags(pa.array(["[1, 2]", None, "", "[None, 3]"]), format="list") == (
        wanted
    )
    assert bags(pa.nulls(4)) == [[]] * 4
    assert bags(pa.array(["1|x"]), separator="|", missing=("x",)) == [["1"]]


def test_a_list_that_is_none_is_refused_by_row():
    with pytest.raises(InvalidValue, match="a list such as") as error:
        lists.list_texts(pa.array(["[1]", "1;2"]), format="list")
    assert error.value.row == 1
    with pytest.raises(InvalidValue, match="each value an id") as error:
        lists.list_texts(pa.array([[1.0], [], [1.0, 2.5]]))
    assert error.value.row == 2
    with pytest.raises(UnsupportedType, match="separator"):
        lists.list_texts(pa.array(["a"]))


@pytest.mark.parametrize(
    "rows, options",
    [
        ([[0.5, -1.0], [2.0, 3.0]], {}),
        (["0.5;-1", "2;3e0"], {"separator": ";"}),
        (["[0.5, -1.0]", "(2, 3)"], {"format": "list"}),
        (["[ 0.5 -1. ]", "[2.\n 3.]"], {"format": "list"}),
    ],
)
def test_vectors_from_lists_and_from_texts(rows, options):
    found = lists.vectors(pa.array(rows), 2, **options)
    np.testing.assert_array_equal(found, [[0.5, -1.0], [2.0, 3.0]])
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "bad", [[1.0], None, [1.0, None], [1.0, float("nan")], [1.0, 1e39]]
)
def test_a_vector_that_breaks_its_rule_is_refused_by_row(bad):
    with pytest.raises(InvalidValue, match="2 finite numbers") as error:
        lists.vectors(pa.array([[1.0, 2.0], bad, bad]), 2)
    assert error.value.row == 1
    assert repr(error.value.value) == repr(bad)
