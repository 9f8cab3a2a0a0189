"""Request and response bodies of the Open Inference Protocol (KServe V2)."""

import base64
import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.served.naming import PREDICT
from export.server import wire
from export.version.engines import Columns
from export.version.published import SignatureSpec

DATATYPES = {"int64": "INT64", "float32": "FP32", "string": "BYTES"}
_BINARY: dict[str, np.dtype] = {
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
# Number of bytes of JSON if tensors follow as raw bytes.
HEADER = "Inference-Header-Content-Length"
OCTETS = "application/octet-stream"


@dataclasses.dataclass(frozen=True)
class Inference:
    """An infer request.

    Args:
        body: the request as a body of TensorFlow Serving's REST interface.
        id: ID of the request, or None.
        outputs: requested output to whether to return it as raw bytes; None
            for all.
        binary: whether to return all outputs as raw bytes.
    """

    body: dict[str, Any]
    id: str | None
    outputs: dict[str, bool] | None
    binary: bool


def read(
    body: bytes, header: str | None, signatures: Mapping[str, SignatureSpec]
) -> Inference:
    """Reads the body of an infer request.

    Args:
        body: body of the request.
        header: value of HEADER, or None.
        signatures: specs of the signatures; the parameter `signature_name`
            selects one, serving_default by default.

    Raises:
        BadRequest: if it breaks a rule.
    """
    size = _json_size(body, header)
    content = wire.parse(body[:size])
    parameters = _parameters(content)
    name = wire.signature_name(parameters, PREDICT, signatures)
    spec = signatures[name]
    tail = _Tail(body[size:])
    values: dict[str, Any] = {}
    for tensor in _objects(content, "inputs"):
        column = _known(tensor.get("name"), "input", spec.inputs)
        if column in values:
            raise wire.BadRequest(f"input {column!r}: must be given only once.")
        values[column] = _values(column, tensor, spec, tail)
    tail.check_end()
    if not isinstance(content.get("id"), str | None):
        raise wire.BadRequest('"id" must be a string.')
    outputs = None
    if content.get("outputs") is not None:
        outputs = {
            _known(tensor.get("name"), "output", spec.outputs): bool(
                _parameters(tensor).get("binary_data")
            )
            for tensor in _objects(content, "outputs")
        }
    return Inference(
        {"inputs": values, "signature_name": name},
        content.get("id"),
        outputs or None,
        bool(parameters.get("binary_data_output")),
    )


def _json_size(body: bytes, header: str | None) -> int:
    """Returns the number of bytes of JSON at the start of a body."""
    if header is None:
        return len(body)
    if not (header.isascii() and header.isdigit()) or len(header) > 18:
        raise wire.BadRequest(
            f"{HEADER} must be a number of bytes; received {header:.100}."
        )
    if int(header) > len(body):
        raise wire.BadRequest(
            f"{HEADER} is {header}; the body has {len(body)} bytes."
        )
    return int(header)


def _parameters(content) -> dict[str, Any]:
    parameters = content.get("parameters")
    if not isinstance(parameters, dict | None):
        raise wire.BadRequest('"parameters" must be an object.')
    return parameters or {}


def _objects(content, key) -> list[dict[str, Any]]:
    tensors = content.get(key)
    if not isinstance(tensors, list) or not all(
        isinstance(tensor, dict) for tensor in tensors
    ):
        raise wire.BadRequest(f'"{key}" must be a list of objects.')
    return tensors


def _known(name, kind, specs) -> str:
    if not isinstance(name, str) or name not in specs:
        raise wire.BadRequest(
            f"{kind} name must be one of {list(specs)}; received {name!r:.100}."
        )
    return name


class _Tail:
    """Raw bytes of tensors in the order of the inputs."""

    def __init__(self, content: bytes):
        self._left = content

    def take(self, name, size) -> bytes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise wire.BadRequest(
                f"input {name!r}: binary_data_size must be a number of bytes; "
                f"received {size!r:.100}."
            )
        if size > len(self._left):
            raise wire.BadRequest(
                f"input {name!r}: binary_data_size is {size}; the body has "
                f"{len(self._left)} bytes left."
            )
        content, self._left = self._left[:size], self._left[size:]
        return content

    def check_end(self):
        if self._left:
            raise wire.BadRequest(
                f"the body has {len(self._left)} bytes after those of the last "
                "input."
            )


def _values(name: str, tensor, spec: SignatureSpec, tail: _Tail) -> list:
    """Returns the values of an input, a list per row if it has two axes."""
    dtype, dims = spec.inputs[name]
    datatype, shape = tensor.get("datatype"), tensor.get("shape")
    if datatype != DATATYPES[dtype]:
        raise wire.BadRequest(
            f"input {name!r}: datatype must be {DATATYPES[dtype]}; received "
            f"{datatype!r:.100}."
        )
    if not isinstance(shape, list) or not _fits(shape, dims):
        raise wire.BadRequest(
            f"input {name!r}: shape must match {json_shape(dims)}; received "
            f"{shape!r:.100}."
        )
    parameters = _parameters(tensor)
    if "binary_data_size" in parameters:
        content = tail.take(name, parameters["binary_data_size"])
        flat = _from_bytes(name, content, datatype)
    else:
        flat = tensor.get("data")
        for _ in shape[1:]:  # may be flat, or nested like the shape
            if isinstance(flat, list) and flat and isinstance(flat[0], list):
                flat = _flattened(name, flat)
    if not isinstance(flat, list) or len(flat) != math.prod(shape):
        count = len(flat) if isinstance(flat, list) else "no list"
        raise wire.BadRequest(
            f"input {name!r}: must have the {math.prod(shape)} values of the "
            f"shape {shape}; received {count}."
        )
    if len(shape) == 1:
        return flat
    width = shape[1]
    return [flat[n * width : (n + 1) * width] for n in range(shape[0])]


def _fits(shape: list, dims: tuple[int | None, ...]) -> bool:
    """Returns whether a tensor has the shape `dims`, with None for any size."""
    return len(shape) == len(dims) and all(
        type(size) is int
        and (0 <= size < 2**63 if dim is None else size == dim)
        for size, dim in zip(shape, dims, strict=True)
    )


def _flattened(name, rows) -> list:
    if not all(isinstance(row, list) for row in rows):
        raise wire.BadRequest(
            f"input {name!r}: data must be flat or nested lists."
        )
    return [value for row in rows for value in row]


def _from_bytes(name, content: bytes, datatype: str) -> list:
    if datatype in _BINARY:
        kind = _BINARY[datatype]
        if len(content) % kind.itemsize:
            raise wire.BadRequest(
                f"input {name!r}: {datatype} values have {kind.itemsize} bytes "
                f"each; received {len(content)} bytes."
            )
        return np.frombuffer(content, kind).tolist()
    texts, place = [], 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "little")
        text = content[place + 4 : place + 4 + size]
        if len(text) < size or place + 4 > len(content):
            raise wire.BadRequest(
                f"input {name!r}: the last value must have {size} bytes; "
                f"received {len(text)}."
            )
        texts.append({"b64": base64.b64encode(text).decode()})
        place += 4 + size
    return texts


def response(
    inference: Inference, outputs: Columns, model: dict[str, str]
) -> tuple[bytes, int | None]:
    """Returns the response to an infer request.

    Args:
        inference: the request.
        outputs: name to array.
        model: "model_name" and "model_version".

    Returns:
        The body, and the number of bytes of JSON in it, or None if all are.
    """
    tensors, tail = [], b""
    for name in inference.outputs or outputs:
        value = outputs[name]
        kind = value.dtype.name if value.dtype.kind != "O" else "string"
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[kind],
            "shape": list(value.shape),
        }
        if inference.binary or (inference.outputs or {}).get(name):
            octets = _to_bytes(value)
            tensor["parameters"] = {"binary_data_size": len(octets)}
            tail += octets
        else:
            flat = value.ravel().tolist()
            if kind == "string":
                flat = [text.decode(errors="replace") for text in flat]
            tensor["data"] = flat
        tensors.append(tensor)
    content = {**model, "outputs": tensors}
    if inference.id is not None:
        content["id"] = inference.id
    body = json.dumps(content).encode()
    has_bytes = any("parameters" in tensor for tensor in tensors)
    return body + tail, len(body) if has_bytes else None


def _to_bytes(value: np.ndarray) -> bytes:
    if value.dtype.kind != "O":
        return value.astype(value.dtype.newbyteorder("<")).tobytes()
    return b"".join(
        struct.pack("<I", len(text)) + text for text in value.ravel()
    )


def json_shape(shape) -> list[int]:
    """Returns a shape with -1 for the batch."""
    return [-1 if size is None else size for size in shape]
