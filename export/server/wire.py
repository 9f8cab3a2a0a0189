"""JSON bodies of TensorFlow Serving's REST interface."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.client import encode
from export.served.naming import PREDICT
from export.version.published import SignatureSpec

Columns = dict[str, np.ndarray]


class BadRequest(ValueError):
    """Raised if a body breaks a rule; the message names input, row and rule."""


def parse(body: bytes) -> dict[str, Any]:
    """Parses a body into a JSON object.

    Raises:
        BadRequest: if it is not a JSON object.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise BadRequest(
            "the body must be a JSON object; received "
            f"{type(content).__name__}."
        )
    return content


def predict_request(
    body: Mapping[str, Any], signatures: Mapping[str, SignatureSpec]
) -> tuple[str, Columns, bool]:
    """Reads the body of a Predict request.

    Args:
        body: object with "instances" or "inputs", and "signature_name" if it
            is not serving_default.
        signatures: specs of the signatures.

    Returns:
        The signature, its columns, and whether to respond by row.

    Raises:
        BadRequest: if the body breaks a rule.
    """
    name = signature_name(body, PREDICT, signatures)
    spec = signatures[name]
    by_row = "instances" in body
    if by_row == ("inputs" in body):
        raise BadRequest(
            'the body must hold either "instances", a list of rows, or '
            f'"inputs", lists by name; received {sorted(body)}.'
        )
    if by_row:
        if spec.context:
            raise BadRequest(
                f'signature {name!r} takes only "inputs", as '
                f"{list(spec.context)} have one row."
            )
        values = _columns_from_rows(body["instances"], spec)
    else:
        values = _columns(body["inputs"], spec)
    return name, _arrays(values, spec), by_row


def signature_name(body: Mapping[str, Any], default: str, known) -> str:
    """Returns the signature that a body requests.

    Raises:
        BadRequest: if it is not in `known`.
    """
    name = body.get("signature_name") or default
    if not isinstance(name, str) or name not in known:
        raise BadRequest(
            f"signature_name must be one of {sorted(known)}; received "
            f"{_short(name)}."
        )
    return name


def examples_request(body: Mapping[str, Any], spec: SignatureSpec) -> Columns:
    """Reads the columns of a Regress or Classify body.

    Args:
        body: object with "examples", a list of rows, and optionally
            "context", the inputs that all rows share.
        spec: spec of serving_default.

    Raises:
        BadRequest: if the body breaks a rule.
    """
    examples, context = body.get("examples"), body.get("context")
    context = {} if context is None else context
    if not isinstance(examples, list) or not isinstance(context, dict):
        raise BadRequest(
            'the body must hold "examples", a list of rows, and may hold '
            f'"context", an object; received {sorted(body)}.'
        )
    rows = []
    for number, example in enumerate(examples):
        if not isinstance(example, dict):
            raise BadRequest(
                f"examples, row {number}: must be an object; received "
                f"{_short(example)}."
            )
        rows.append({**context, **example})
    return _arrays(_columns_from_rows(rows, spec), spec)


def _arrays(columns: Mapping[str, Any], spec: SignatureSpec) -> Columns:
    """Returns an array for every input, including those left out.

    Raises:
        BadRequest: if a value breaks a rule; names input, row and rule.
    """
    for name, values in columns.items():
        if not isinstance(values, list):
            raise BadRequest(
                f"input {name!r}: must be a list with one value per row; "
                f"received {_short(values)}."
            )
    counts = {
        name: len(values)
        for name, values in columns.items()
        if name not in spec.context
    }
    if len(set(counts.values())) > 1:
        raise BadRequest(
            f"all inputs must have the same number of rows; received {counts}."
        )
    rows = max(counts.values(), default=0)
    columns = {
        name: _decoded(values) if spec.columns[name].takes_text else values
        for name, values in columns.items()
    }
    for name in spec.context:
        if name in columns and len(columns[name]) != 1:
            raise BadRequest(
                f"input {name!r}: must have exactly one row, which all others "
                f"share; received {len(columns[name])}."
            )
    try:
        arrays = encode.read(spec.columns, columns)
    except encode.BadValue as error:
        raise BadRequest(
            f"input {error.column!r}, row {error.row}: must be {error.rule}; "
            f"received {_short(error.value)}."
        ) from error
    return {
        name: arrays[name]
        if name in arrays
        else column.none(1 if name in spec.context else rows)
        for name, column in spec.columns.items()
    }


def _decoded(values):
    """Decodes {"b64": text} to bytes, also in bags, in a value for each row."""
    if not any(isinstance(value, dict | list) for value in values):
        return values
    return [
        [_bytes(item) for item in value]
        if isinstance(value, list)
        else _bytes(value)
        for value in values
    ]


def _bytes(value):
    if isinstance(value, dict) and list(value) == ["b64"]:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (ValueError, TypeError):
            pass  # left as an object, which is invalid for all inputs
    return value


def _columns_from_rows(rows, spec: SignatureSpec) -> dict[str, list]:
    """Returns the values by input of a list of rows."""
    if not isinstance(rows, list):
        raise BadRequest('"instances" must be a list of rows.')
    names = list(spec.inputs)
    if len(names) == 1 and not any(isinstance(row, dict) for row in rows):
        return {names[0]: rows}
    if len(names) == 1 and spec.inputs[names[0]][0] == "string":
        if all("b64" in row for row in rows if isinstance(row, dict)):
            return {names[0]: rows}
    known = set(names)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise BadRequest(
                f"row {number}: must be an object of inputs; received "
                f"{_short(row)}."
            )
        if not row.keys() <= known:
            unknown = sorted(row.keys() - known)
            raise BadRequest(
                f"row {number}: inputs {unknown} are unknown; the inputs are "
                f"{names}."
            )
    return {name: _column(name, rows, name in spec.optional) for name in names}


def _column(name, rows, optional):
    if optional:
        return [row.get(name) for row in rows]
    try:
        return [row[name] for row in rows]
    except KeyError:
        number = next(n for n, row in enumerate(rows) if name not in row)
        raise BadRequest(f"row {number}: input {name!r} is missing.") from None


def _columns(inputs, spec: SignatureSpec) -> dict[str, Any]:
    if not isinstance(inputs, dict):
        if len(spec.inputs) > 1:
            raise BadRequest(
                f'"inputs" must be an object of {list(spec.inputs)}.'
            )
        return {next(iter(spec.inputs)): inputs}
    if len(spec.inputs) == 1 and list(inputs) == ["b64"]:
        return {next(iter(spec.inputs)): inputs}
    return _named(inputs, spec)


def _named(inputs, spec: SignatureSpec) -> dict[str, Any]:
    """Returns inputs; raises if some are unknown or required ones missing."""
    unknown = sorted(inputs.keys() - spec.inputs.keys())
    if unknown:
        raise BadRequest(
            f"inputs {unknown} are unknown; the inputs are {list(spec.inputs)}."
        )
    for name in spec.inputs:
        if name not in inputs and name not in spec.optional:
            raise BadRequest(f"input {name!r} is missing.")
    return dict(inputs)


def predict_response(outputs: Columns, by_row: bool) -> dict[str, Any]:
    """Returns the body of the response to a Predict request."""
    lists = {name: _as_list(value) for name, value in outputs.items()}
    if len(lists) == 1:
        (values,) = lists.values()
        return {"predictions" if by_row else "outputs": values}
    if not by_row:
        return {"outputs": lists}
    return {
        "predictions": [
            dict(zip(lists, row, strict=True))
            for row in zip(*lists.values(), strict=True)
        ]
    }


def _as_list(value):
    if value.dtype.kind != "O":
        return value.tolist()
    return [
        _as_list(item)
        if isinstance(item, np.ndarray)
        else item.decode(errors="replace")
        for item in value
    ]


def _short(value):
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}..."
