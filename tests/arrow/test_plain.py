"""Columns as pandas and polars write them, against their Python values."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from wukong_tf.arrow.errors import UnsupportedType
from wukong_tf.arrow.plain import plain_array, plain_type

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
WORDS = ["a", None, "東京", "", "a"]
SAME = [
    pa.array(WORDS).dictionary_encode(),
    pa.array(WORDS, pa.large_string()).dictionary_encode(),
    pa.DictionaryArray.from_arrays([0, 1, 2, 3, 0], ["a", None, "東京", ""]),
    pc.run_end_encode(pa.array(WORDS)),
    pa.array(WORDS, pa.string_view()),
    pa.array(WORDS, pa.large_string()),
    pa.array([b"x", None], pa.binary_view()),
    pa.array([b"xy", None], pa.binary(2)),
    pa.array([1.5, None, float("inf")], pa.float16()),
    pa.array([None, None]),
    pa.array([None, [None]]),
    pa.array([[1], None, [], [None, 2]], pa.list_view(pa.int8())),
    pa.array([["a"], None, []], pa.large_list_view(pa.string_view())),
    pa.array([["a", "b"], None, ["c", None]], pa.list_(pa.string_view(), 2)),
    pa.array(
        [["a"], None, ["b", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.utf8()))
    ),
    pa.array([[1.0, 2.0], None], pa.list_(pa.float16(), 2)),
    pa.ExtensionArray.from_storage(
        pa.bool8(), pa.array([1, 0, None], pa.int8())
    ),
    pa.array([decimal.Decimal("1.50"), None]),
    pa.array([datetime.date(2020, 1, 2), None]),
    pa.array([datetime.timedelta(1), None]),
]


@pytest.mark.parametrize("array", SAME, ids=lambda array: str(array.type))
def test_values_stay_as_they_are(array):
    outer = pa.concat_arrays([array, array]) if array.type.id else array
    for given in (
        array,
        array.slice(1),
        pa.chunked_array([array, array.slice(1)]),
        pa.chunked_array([], array.type),
        outer,
    ):
        found = plain_array(given)
        assert found.to_pylist() == given.to_pylist()
        assert found.type == plain_type(given.type)
        # Plain already: nothing is left to unwrap.
        assert plain_array(found) is found


def test_chunks_with_dictionaries_of_their_own():
    parts = [["a", "b"], ["b", None, "c"], []]
    array = pa.chunked_array(
        [pa.array(part, pa.string()).dictionary_encode() for part in parts]
    )
    assert plain_array(array).to_pylist() == ["a", "b", "b", None, "c"]


def test_a_uuid_becomes_its_text():
    array = pa.array([UUID.bytes, None], pa.uuid())
    assert plain_array(array).to_pylist() == [str(UUID), None]
    lists = pa.ListArray.from_arrays([0, 2, 2], array)
    assert plain_array(lists).to_pylist() == [[str(UUID), None], []]


class Period(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "pandas.period")

    def __arrow_ext_serialize__(self):
        return b""


@pytest.mark.parametrize(
    "kind, named",
    [
        (pa.struct([("a", pa.int8())]), "struct<a: int8>"),
        (pa.map_(pa.string(), pa.int8()), "map<string, int8>"),
        (pa.list_(pa.struct([("a", pa.int8())])), "struct<a: int8>"),
        (pa.list_(pa.list_(pa.int8())), "lists of lists"),
        (pa.dense_union([pa.field("a", pa.int8())]), "union"),
        (pa.month_day_nano_interval(), "month_day_nano"),
        (Period(), "pandas.period"),
    ],
)
def test_what_is_no_single_value_is_refused_by_name(kind, named):
    with pytest.raises(UnsupportedType, match=named):
        plain_type(kind)
    if not isinstance(kind, Period | pa.UnionType):
        with pytest.raises(UnsupportedType, match=named):
            plain_array(pa.chunked_array([], kind))


def test_an_extension_that_is_not_registered_is_refused_by_name_too():
    field = pa.field(
        "a", pa.int64(), metadata={"ARROW:extension:name": "pandas.period"}
    )
    with pytest.raises(UnsupportedType, match=r"pandas\.period"):
        plain_type(field)


def test_a_large_column_of_one_chunk_is_not_copied():
    array = pa.array(np.arange(10))
    assert plain_array(pa.chunked_array([array])).buffers()[1].address == (
        array.buffers()[1].address
    )
