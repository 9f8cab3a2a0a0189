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


def check_tensors(request, signature: SignatureSpec | None):
    """Raises BadRequest if a tensor has a wrong dtype or too many values.

    To be called before values are read, as a few bytes can encode any number
    of equal values.
    """
    import tensorflow as tf

    for name, (dtype, _) in signature.inputs.items() if signature else ():
        if name in request.inputs:
            number = request.inputs[name].dtype
            if number != tf.dtypes.as_dtype(dtype).as_datatype_enum:
                raise wire.BadRequest(
                    f"input {name!r}: must be a tensor of {dtype}; received "
                    f"one of {_dtype_name(number)}."
                )
    values = 0
    for tensor in request.inputs.values():
        sizes = [dim.size for dim in tensor.tensor_shape.dim] or [1]
        values += max(sizes[0], math.prod(sizes), 0)
    if values > max(request.ByteSize(), _MOST_REPEATED):
        raise wire.BadRequest(
            f"the tensors must have the {values} values of their shapes; "
            f"received {request.ByteSize()} bytes."
        )


def _dtype_name(number: int) -> str:
    """Returns the name of a tensor's dtype, or its number if unknown."""
    import tensorflow as tf

    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"


def body_from_request(request, signature: str) -> dict[str, Any]:
    """Returns a Predict request as a REST body."""
    import tensorflow as tf

    inputs = {}
    for name, tensor in request.inputs.items():
        try:
            array = tf.make_ndarray(tensor)
        except (TypeError, ValueError) as error:
            raise wire.BadRequest(
                f"input {name!r}: must be a tensor: {error}."
            ) from error
        if not array.ndim:
            raise wire.BadRequest(
                f"input {name!r}: must have one value per row; received a "
                "scalar."
            )
        values = array.tolist()
        inputs[name] = _as_base64(values) if array.dtype == object else values
    return {"inputs": inputs, "signature_name": signature}


def _as_base64(value):
    if isinstance(value, list):
        return [_as_base64(item) for item in value]
    # A tensor without values holds str instead of bytes.
    octets = value.encode() if isinstance(value, str) else value
    return {"b64": base64.b64encode(octets).decode()}


def body_from_examples(request, signature: SignatureSpec) -> dict[str, Any]:
    """Returns the input of a Regress or Classify request as a REST body."""
    context = {}
    examples = request.example_list.examples
    if request.WhichOneof("kind") == "example_list_with_context":
        with_context = request.example_list_with_context
        context = _row(with_context.context, signature, "context")
        examples = with_context.examples
    rows = [
        _row(example, signature, f"row {number}")
        for number, example in enumerate(examples)
    ]
    return {"examples": rows, "context": context}


def _row(example, signature: SignatureSpec, where: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, feature in example.features.feature.items():
        dtype, shape = signature.inputs.get(name, ("", (None, None)))
        kind = feature.WhichOneof("kind")
        if kind and dtype and kind != _LISTS[dtype]:
            raise wire.BadRequest(
                f"input {name!r}, {where}: must be a feature with "
                f"{_LISTS[dtype]}; received {kind}."
            )
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            values = _as_base64(values)
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


def metadata_reply(spec, signatures):
    """Returns a GetModelMetadataResponse of the signatures."""
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2

    definitions = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in signatures.items():
        definition = definitions.signature_def[name]
        definition.method_name = signature.method
        for infos, specs in (
            (definition.inputs, signature.inputs),
            (definition.outputs, signature.outputs),
        ):
            for tensor, (dtype, shape) in specs.items():
                info = infos[tensor]
                info.name = tensor
                info.dtype = tf.dtypes.as_dtype(dtype).as_datatype_enum
                for size in shape:
                    info.tensor_shape.dim.add(size=-1 if size is None else size)
    reply = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=spec)
    reply.metadata["signature_def"].Pack(definitions)
    return reply
