"""Conversion of TensorFlow Serving's gRPC messages from and to REST bodies."""

import base64
import math
from typing import Any

from export.server import wire
from export.version.published import SignatureSpec

# Allowed number of values in a request's tensors, even if it has fewer bytes.
_MOST_REPEATED = 1 << 16
# Fields of a tf.Example's feature by the input's dtype.
_LISTS = {
    "int64": "int64_list",
    "float32": "float_list",
    "string": "bytes_list",
}


def check_tensors(request, form: SignatureSpec | None):
    """Raises BadRequest if a tensor has a wrong dtype or too many values.

    To be called before values are read, as a few bytes can encode any number
    of equal values.
    """
    import tensorflow as tf

    for name, (dtype, _) in form.inputs.items() if form else ():
        if name in request.inputs:
            number = request.inputs[name].dtype
            if number != tf.dtypes.as_dtype(dtype).as_datatype_enum:
                raise wire.BadRequest(
                    f"input {name!r}: must be a tensor of {dtype}; received "
                    f"one of {_name_of_type(number)}."
                )
    values = 0
    for tensor in request.inputs.values():
        sizes = [each.size for each in tensor.tensor_shape.dim] or [1]
        values += max(sizes[0], math.prod(sizes), 0)
    if values > max(request.ByteSize(), _MOST_REPEATED):
        raise wire.BadRequest(
            f"the tensors must hold as many values as their shapes, {values}; "
            f"received {request.ByteSize()} bytes."
        )


def _name_of_type(number: int) -> str:
    """Returns the name of a tensor's dtype, or its number if unknown."""
    import tensorflow as tf

    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"


def body_of(request, signature: str) -> dict[str, Any]:
    """Returns a Predict request as a REST body."""
    import tensorflow as tf

    inputs = {}
    for name, tensor in request.inputs.items():
        try:
            array = tf.make_ndarray(tensor)
        except (TypeError, ValueError) as error:
            raise wire.BadRequest(
                f"input {name!r}: it is no tensor: {error}."
            ) from error
        if not array.ndim:
            raise wire.BadRequest(
                f"input {name!r}: must have a value for each row; received a "
                "scalar."
            )
        inputs[name] = (
            _texts(array.tolist())
            if array.dtype == object
            else (array.tolist())
        )
    return {"inputs": inputs, "signature_name": signature}


def _texts(value):
    if isinstance(value, list):
        return [_texts(each) for each in value]
    # A tensor without values holds str instead of bytes.
    octets = value.encode() if isinstance(value, str) else value
    return {"b64": base64.b64encode(octets).decode()}


def examples_of(given, form: SignatureSpec) -> dict[str, Any]:
    """Returns tf.Examples as the rows of a REST body."""
    context = {}
    listed = given.example_list.examples
    if given.WhichOneof("kind") == "example_list_with_context":
        both = given.example_list_with_context
        context = _row(both.context, form, "context")
        listed = both.examples
    rows = [_row(each, form, f"row {n}") for n, each in enumerate(listed)]
    return {"examples": rows, "context": context}


def _row(example, form: SignatureSpec, where: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, feature in example.features.feature.items():
        dtype, shape = form.inputs.get(name, ("", (None, None)))
        kind = feature.WhichOneof("kind")
        if kind and dtype and kind != _LISTS[dtype]:
            raise wire.BadRequest(
                f"input {name!r}, {where}: must be a feature with "
                f"{_LISTS[dtype]}; received {kind}."
            )
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            values = _texts(values)
        if len(shape) > 1:
            row[name] = values
        elif values:  # a feature without values is missing
            row[name] = values[0] if len(values) == 1 else values
    return row


def predict_reply(spec, outputs):
    """Returns a PredictResponse, with values in typed fields."""
    from tensorflow_serving.apis import predict_pb2

    reply = predict_pb2.PredictResponse(model_spec=spec)
    for name, value in outputs.items():
        tensor = reply.outputs[name]
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.dtype, field = {
            "f": (1, tensor.float_val),
            "i": (9, tensor.int64_val),
            "O": (7, tensor.string_val),
        }[value.dtype.kind]
        field.extend(value.ravel().tolist())
    return reply


def metadata_reply(spec, forms):
    """Returns a GetModelMetadataResponse of the signatures."""
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, form in forms.items():
        kept = signatures.signature_def[name]
        kept.method_name = form.method
        for infos, specs in (
            (kept.inputs, form.inputs),
            (kept.outputs, form.outputs),
        ):
            for each, (dtype, shape) in specs.items():
                info = infos[each]
                info.name = each
                info.dtype = tf.dtypes.as_dtype(dtype).as_datatype_enum
                for size in shape:
                    info.tensor_shape.dim.add(size=-1 if size is None else size)
    reply = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
    reply.metadata["signature_def"].Pack(signatures)
    return reply
