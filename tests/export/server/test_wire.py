"""JSON bodies against the arrays that they must become."""

import base64
import json
import math

import numpy as np
import pytest

from export.client.encode import Column, columns_of
from export.server import wire
from export.server.wire import BadRequest
from export.version.published import SignatureSpec

NAN = math.nan
INPUTS = {
    "id": ("int64", (None,)),
    "word": ("string", (None,)),
    "price": ("float32", (None,)),
    "bag": ("int64", (None, 3)),
    "content": ("float32", (None, 2)),
}
OPTIONAL = {"price": NAN, "bag": 0, "word": ""}
COLUMNS = columns_of(
    {
        "categorical": [
            {"name": "id", "num_ids": 9, "oov_id": 2},
            {"name": "word", "num_ids": 9, "raw": "string"},
            {"name": "bag", "num_ids": 10, "pooling": "sum", "max_ids": 3},
        ],
        "numeric": [{"name": "price"}],
        "vector": [{"name": "content", "size": 2}],
    }
)


def form_of(*context):
    named = {name: COLUMNS[name] for name in INPUTS}
    return SignatureSpec(INPUTS, {}, OPTIONAL, context, columns=named)


FORM, SHARED = form_of(), form_of("word")
ONE = SignatureSpec(
    {"x": ("int64", (None,))}, {}, {}, columns={"x": Column("x", "id")}
)
TEXT = SignatureSpec(
    {"inputs": ("string", (None,))},
    {},
    {},
    columns={"inputs": Column("inputs", "bytes")},
)
FORMS = {
    "serving_default": FORM,
    "candidates": SHARED,
    "one": ONE,
    "text": TEXT,
}
ROWS = [
    {"id": 3, "word": "a", "price": 0.5, "bag": [7, 8, 9], "content": [1, 2]},
    {"id": -1, "word": "é", "price": None, "bag": [4], "content": [3, 4.5]},
    {"id": 2**63 - 1, "word": {"b64": "/w=="}, "content": [0, -1]},
]
ARRAYS = {
    "id": np.array([3, -1, 2**63 - 1]),
    "word": np.array([b"a", "é".encode(), b"\xff"], object),
    "price": np.array([0.5, NAN, NAN], np.float32),
    "bag": np.array([[7, 8, 9], [4, 0, 0], [0, 0, 0]]),
    "content": np.array([[1, 2], [3, 4.5], [0, -1]], np.float32),
}


def request(**body):
    return wire.predict_request(body, FORMS)


def assert_columns(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value)


def columns(rows):
    """Rows as lists by name, with null for what a row lacks."""
    return {name: [row.get(name) for row in rows] for name in INPUTS}


def test_rows_and_columns_become_the_same_arrays():
    name, found, by_row = request(instances=ROWS)
    assert (name, by_row) == ("serving_default", True)
    assert_columns(found, ARRAYS)
    name, found, by_row = request(inputs=columns(ROWS))
    assert (name, by_row) == ("serving_default", False)
    assert_columns(found, ARRAYS)
    for row in range(len(ROWS)):
        _, found, _ = request(instances=ROWS[row : row + 1])
        each = {n: value[row : row + 1] for n, value in ARRAYS.items()}
        assert_columns(found, each)


def test_what_may_be_left_out_is_filled_in():
    given = columns(ROWS)
    del given["price"], given["bag"]
    _, found, _ = request(inputs=given)
    filled = {
        "price": np.full(3, NAN, np.float32),
        "bag": np.zeros((3, 3), np.int64),
    }
    assert_columns(found, {**ARRAYS, **filled})
    _, found, _ = request(instances=[])
    assert {n: v.shape for n, v in found.items()} == {
        "id": (0,),
        "word": (0,),
        "price": (0,),
        "bag": (0, 3),
        "content": (0, 2),
    }


@pytest.mark.parametrize("left_out", [False, True])
def test_a_context_has_a_row_of_its_own(left_out):
    form = form_of("word", "price")
    given = {**columns(ROWS), "word": ["x"], "price": [2.5]}
    want = np.array([2.5], np.float32)
    if left_out:
        del given["price"]
        want = np.array([NAN], np.float32)
    body = {"inputs": given, "signature_name": "c"}
    name, found, _ = wire.predict_request(body, {"c": form})
    assert name == "c"
    assert found["word"].tolist() == [b"x"]
    np.testing.assert_array_equal(found["price"], want)
    assert len(found["id"]) == 3
    with pytest.raises(BadRequest, match=r"'c' takes .* \['word', 'price'\]"):
        wire.predict_request(
            {"instances": ROWS, "signature_name": "c"}, {"c": form}
        )


def test_a_row_s_own_value_goes_before_the_context_s():
    """What all share is what a row has unless it says otherwise."""
    rows = [{k: v for k, v in row.items() if k != "word"} for row in ROWS]
    rows[1]["word"] = "own"
    context = {"word": "shared", "price": 9.5, "bag": [5]}
    body = {"examples": rows, "context": context}
    found = wire.examples_request(body, FORM)
    assert found["word"].tolist() == [b"shared", b"own", b"shared"]
    # A row's null is a value of its own.
    want = np.array([0.5, NAN, 9.5], np.float32)
    np.testing.assert_array_equal(found["price"], want)
    assert found["bag"].tolist() == [[7, 8, 9], [4, 0, 0], [5, 0, 0]]
    assert_columns(
        wire.examples_request({"examples": ROWS, "context": context}, FORM),
        {
            **ARRAYS,
            "price": np.array([0.5, NAN, 9.5], np.float32),
            "bag": np.array([[7, 8, 9], [4, 0, 0], [5, 0, 0]]),
        },
    )


@pytest.mark.parametrize(
    "body, said",
    [
        ({"examples": 3}, '"examples", a list'),
        ({"examples": ROWS, "context": 3}, '"context"'),
        ({"examples": ROWS, "context": 0}, '"context"'),
        ({"examples": ROWS, "context": []}, '"context"'),
        ({"examples": [ROWS[0], 3]}, "row 1: must be an object"),
        ({"examples": [{**ROWS[0], "x": 1}]}, r"row 0: inputs \['x'\]"),
    ],
)
def test_examples_that_break_a_rule_are_refused(body, said):
    with pytest.raises(BadRequest, match=said):
        wire.examples_request(body, FORM)


def test_a_signature_of_one_input_takes_values():
    for body in (
        {"instances": [4, 5]},
        {"instances": [{"x": 4}, {"x": 5}]},
        {"inputs": [4, 5]},
        {"inputs": {"x": [4, 5]}},
    ):
        name, found, _ = request(**body, signature_name="one")
        assert name == "one" and found["x"].tolist() == [4, 5]
    coded = {"b64": base64.b64encode(b"\x00\xff").decode()}
    for body in (
        {"instances": ["a", coded]},
        {"instances": [{"inputs": "a"}, {"inputs": coded}]},
        {"inputs": ["a", coded]},
        {"inputs": {"inputs": ["a", coded]}},
    ):
        _, found, _ = request(**body, signature_name="text")
        assert found["inputs"].tolist() == [b"a", b"\x00\xff"]
    _, found, _ = request(instances=[coded, coded], signature_name="text")
    assert found["inputs"].tolist() == [b"\x00\xff"] * 2


@pytest.mark.parametrize(
    "change, said",
    [
        ({"id": True}, "'id', row 1: must be an integer id of 64 bits"),
        ({"id": 1.0}, "integer id of 64 bits; received 1.0"),
        ({"id": 2**63}, "integer id of 64 bits"),
        ({"id": -(2**63) - 1}, "integer id of 64 bits"),
        ({"id": None}, "received null"),
        ({"word": 3.5}, "a string or an integer"),
        ({"word": {"b64": "?"}}, "a string or"),
        ({"word": {"b64": 3}}, "a string or"),
        ({"word": {"b64": "/w==", "x": 1}}, "a string or"),
        ({"price": "1"}, "'price', row 1: must be a number"),
        ({"price": False}, "must be a number"),
        ({"bag": 4}, "'bag', row 1: must be a list, each value an integer id"),
        ({"bag": [1.5]}, "integer id of 64 bits"),
        ({"content": [1]}, "'content', row 1: must be a list of 2 numbers"),
        ({"content": [1, 2, 3]}, "list of 2 numbers"),
        ({"content": None}, "list of 2 numbers"),
        ({"content": [1, None]}, "list of 2 numbers.*; received .1, null"),
        ({"other": 1}, r"row 1: inputs \['other'\] are unknown"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_by_its_row(change, said):
    rows = [ROWS[0], {**ROWS[0], **change}]
    with pytest.raises(BadRequest, match=said):
        request(instances=rows)
    if "other" not in change:
        with pytest.raises(BadRequest, match=said.partition("row")[0]):
            request(inputs=columns(rows))


def test_numbers_at_their_limits_are_taken():
    rows = [{**ROWS[0], "id": value} for value in (-(2**63), 2**63 - 1)]
    _, found, _ = request(instances=rows)
    assert found["id"].tolist() == [-(2**63), 2**63 - 1]
    rows = [{**ROWS[0], "price": v} for v in (2, 2.5, -0.0)]
    _, found, _ = request(instances=rows)
    assert found["price"].tolist() == [2.0, 2.5, 0.0]


@pytest.mark.parametrize(
    "body, said",
    [
        ({}, 'either "instances"'),
        ({"instances": ROWS, "inputs": columns(ROWS)}, 'either "instances"'),
        ({"instances": {"id": 3}}, "list of rows"),
        ({"instances": [ROWS[0], 7]}, "row 1: must be an object of inputs"),
        (
            {"instances": [ROWS[0], {"id": 3}]},
            "row 1: input 'content' is missing",
        ),
        ({"inputs": [1]}, '"inputs" must be an object'),
        ({"inputs": {"id": [1]}}, "input 'content' is missing"),
        ({"inputs": {**columns(ROWS), "x": 1}}, r"\['x'\] are unknown"),
        (
            {"inputs": {**columns(ROWS), "id": [1]}},
            "same number of rows.*'id': 1",
        ),
        ({"inputs": {**columns(ROWS), "id": 3}}, "'id': must be a list"),
        ({"instances": ROWS, "signature_name": "z"}, 'received "z"'),
        ({"instances": ROWS, "signature_name": 3}, "received 3"),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused(body, said):
    with pytest.raises(BadRequest, match=said):
        request(**body)


@pytest.mark.parametrize("name", list(INPUTS))
def test_lists_in_lists_are_refused_by_name(name):
    deep = []
    for _ in range(600):  # as deep as JSON is read
        deep = [deep]
    with pytest.raises(BadRequest, match=f"input '{name}', row 1"):
        request(instances=[ROWS[0], {**ROWS[0], name: deep}])


def test_a_body_is_a_json_object():
    assert wire.parse(b'{"a": [1, null]}') == {"a": [1, None]}
    for body in (b"", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BadRequest, match="not valid JSON"):
            wire.parse(body)
    with pytest.raises(BadRequest, match="JSON object; received list"):
        wire.parse(b"[1]")


def test_answers_hold_each_row_s_outputs():
    outputs = {
        "y": np.array([0.5, 1.5], np.float32),
        "z": np.array([[1, 2], [3, 4]]),
        "s": np.array([b"a", b"\xff"], object),
    }
    rows = wire.predict_response(outputs, True)["predictions"]
    assert rows == [
        {"y": 0.5, "z": [1, 2], "s": "a"},
        {"y": 1.5, "z": [3, 4], "s": "\ufffd"},
    ]
    assert wire.predict_response(outputs, False)["outputs"] == {
        "y": [0.5, 1.5],
        "z": [[1, 2], [3, 4]],
        "s": ["a", "\ufffd"],
    }
    nested = np.empty(1, object)
    nested[0] = np.array([b"a", b"b"], object)
    one = {"s": nested}
    assert wire.predict_response(one, True) == {"predictions": [["a", "b"]]}
    assert wire.predict_response(one, False) == {"outputs": [["a", "b"]]}


def test_a_long_value_is_shortened_in_an_error():
    with pytest.raises(BadRequest) as caught:
        request(instances=["x" * 1000, ROWS[0]])
    text = json.dumps("x" * 1000)[:100]
    assert str(caught.value).endswith(f"received {text}....")
