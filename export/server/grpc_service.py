"""TensorFlow Serving's gRPC interface, by tensorflow-serving-api's messages."""

import base64
import logging
import math
import time
from collections.abc import Callable
from typing import Any

from export.server import calls, wire
from export.server.arrivals import spread
from export.server.batching import Overloaded
from export.server.measures import Measures
from export.server.versions import NotServed, Versions, check_label
from export.version.engines import Refused
from export.version.published import PREDICT, Form

log = logging.getLogger("wukong.serve")
# Values that a request's tensors may have beyond the bytes of the request.
_MOST_REPEATED = 1 << 16
# Of a tf.Example, by the type of its input.
_LISTS = {
    "int64": "int64_list",
    "float32": "float_list",
    "string": "bytes_list",
}


class _Service:
    """What both services share.

    Args:
        name: of the model.
        versions: the version that is served.
        measures: counters.
    """

    def __init__(self, name: str, versions: Versions, measures: Measures):
        self._name = name
        self._versions = versions
        self._measures = measures

    def _version(self, spec) -> int | None:
        """The version that a request asks for, if it does."""
        if spec.name != self._name:
            raise NotServed(
                f"Servable not found for request: Latest({spec.name:.100}); "
                f"there is {self._name}."
            )
        kind = spec.WhichOneof("version_choice")
        if kind == "version_label":
            check_label(spec.version_label)
        return spec.version.value if kind == "version" else None

    async def _answered(self, context, verb: str, work: Callable) -> Any:
        """Returns a reply, or ends the call with the code of an error."""
        import grpc

        began = time.perf_counter()
        code, error, reply = grpc.StatusCode.OK, "", None
        try:
            reply = await work()
        except (wire.BadRequest, Refused) as refused:
            code, error = grpc.StatusCode.INVALID_ARGUMENT, str(refused)
        except NotServed as missing:
            code, error = grpc.StatusCode.NOT_FOUND, str(missing)
            if missing.none:
                code = grpc.StatusCode.UNAVAILABLE
        except Overloaded as busy:
            code, error = grpc.StatusCode.UNAVAILABLE, str(busy)
        except Exception:  # noqa: BLE001 no fault ends the server
            log.exception("gRPC %s", verb)
            code = grpc.StatusCode.INTERNAL
            error = "the server has a fault, which is in its log."
        current = self._versions.current
        self._measures.note(
            verb,
            code.name,
            time.perf_counter() - began,
            current.published.version if current else None,
        )
        if reply is None:
            await context.abort(code, error)
        return reply

    async def _lacking(self, context, name):
        import grpc

        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"{name} is not served here."
        )


class Predictions(_Service):
    """PredictionService.

    Args:
        name: of the model.
        versions: the version that is served.
        measures: counters.
        arrives: as `Server.arrives`.
    """

    def __init__(
        self,
        name: str,
        versions: Versions,
        measures: Measures,
        arrives: Callable,
    ):
        super().__init__(name, versions, measures)
        self._arrives = arrives

    async def Predict(self, request, context):
        """Scores tensors."""

        async def work():
            spec, size = request.model_spec, request.ByteSize()
            async with self._arrives(size, self._version(spec)) as found:
                loaded, coming = found
                name = spec.signature_name or PREDICT
                _check_tensors(request, loaded.engine.forms.get(name))
                body = await spread(size, _body, request, name)
                scored = await calls.predict(loaded, body, size, coming)
            wanted = list(request.output_filter) or scored.outputs
            for each in wanted:
                if each not in scored.outputs:
                    raise wire.BadRequest(
                        f"output_filter: {each!r:.100} is unknown; there are "
                        f"{list(scored.outputs)}."
                    )
            return _predict_reply(
                self._named(spec, loaded, name),
                {each: scored.outputs[each] for each in wanted},
            )

        return await self._answered(context, "predict", work)

    async def Regress(self, request, context):
        """Scores tf.Examples."""
        from tensorflow_serving.apis import regression_pb2

        async def work():
            spec, values = await self._on_examples(request, "regress")
            reply = regression_pb2.RegressionResponse(model_spec=spec)
            for value in values.tolist():
                reply.result.regressions.add(value=value)
            return reply

        return await self._answered(context, "regress", work)

    async def Classify(self, request, context):
        """Scores tf.Examples, as two classes."""
        from tensorflow_serving.apis import classification_pb2

        async def work():
            spec, values = await self._on_examples(request, "classify")
            reply = classification_pb2.ClassificationResponse(model_spec=spec)
            for row in calls.classes_of(values):
                kept = reply.result.classifications.add()
                for label, score in row:
                    kept.classes.add(label=label, score=score)
            return reply

        return await self._answered(context, "classify", work)

    async def _on_examples(self, request, kind):
        spec, size = request.model_spec, request.ByteSize()
        async with self._arrives(size, self._version(spec)) as found:
            loaded, coming = found
            form = loaded.engine.forms[PREDICT]
            body = await spread(size, _examples, request.input, form)
            body["signature_name"] = spec.signature_name
            values = await calls.on_examples(loaded, body, kind, size, coming)
        return self._named(spec, loaded, spec.signature_name), values

    def _named(self, spec, loaded, signature: str):
        named = type(spec)(name=spec.name, signature_name=signature)
        named.version.value = loaded.published.version
        return named

    async def GetModelMetadata(self, request, context):
        """Describes the signatures."""

        async def work():
            version = self._version(request.model_spec)
            if list(request.metadata_field) != ["signature_def"]:
                raise wire.BadRequest(
                    "metadata_field must be ['signature_def']; received "
                    f"{list(request.metadata_field)!r:.200}."
                )
            async with self._versions.using(version) as loaded:
                spec = self._named(request.model_spec, loaded, "")
                return _metadata_reply(spec, loaded.engine.forms)

        return await self._answered(context, "other", work)

    async def MultiInference(self, request, context):
        """Is not served."""
        await self._lacking(context, "MultiInference")


class Models(_Service):
    """ModelService."""

    async def GetModelStatus(self, request, context):
        """Tells the state of each version."""
        from tensorflow_serving.apis import get_model_status_pb2

        async def work():
            version = self._version(request.model_spec)
            kind = get_model_status_pb2.ModelVersionStatus.State
            reply = get_model_status_pb2.GetModelStatusResponse()
            for each in self._versions.states(version):
                status = reply.model_version_status.add(
                    version=int(each["version"]),
                    state=kind.Value(each["state"]),
                )
                failed = each["status"]["error_code"] != "OK"
                status.status.error_code = 2 if failed else 0  # UNKNOWN
                status.status.error_message = each["status"]["error_message"]
            return reply

        return await self._answered(context, "other", work)

    async def HandleReloadConfigRequest(self, request, context):
        """Is not served."""
        await self._lacking(context, "HandleReloadConfigRequest")


def _check_tensors(request, form: Form | None):
    """Raises if a tensor is of another type than its input, or is huge.

    Before values are read: few bytes may stand for any number of equal ones.
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
    """Returns the name of a tensor's type, or its number if it has none."""
    import tensorflow as tf

    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"


def _body(request, signature: str) -> dict[str, Any]:
    """A Predict request as REST has it."""
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
    # A tensor without any values has texts in place of bytes.
    octets = value.encode() if isinstance(value, str) else value
    return {"b64": base64.b64encode(octets).decode()}


def _examples(given, form: Form) -> dict[str, Any]:
    """tf.Examples as the rows of a REST body."""
    context = {}
    listed = given.example_list.examples
    if given.WhichOneof("kind") == "example_list_with_context":
        both = given.example_list_with_context
        context = _row(both.context, form, "context")
        listed = both.examples
    rows = [_row(each, form, f"row {n}") for n, each in enumerate(listed)]
    return {"examples": rows, "context": context}


def _row(example, form: Form, where: str) -> dict[str, Any]:
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
        elif values:  # a feature without a value is missing
            row[name] = values[0] if len(values) == 1 else values
    return row


def _predict_reply(spec, outputs):
    """Outputs as TensorFlow Serving writes them, value by value."""
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


def _metadata_reply(spec, forms):
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


async def start(
    predictions: Predictions, models: Models, address: str, max_bytes: int
) -> tuple[Any, int]:
    """Listens for calls.

    Args:
        predictions: answers those of PredictionService.
        models: answers those of ModelService.
        address: "HOST:PORT"; 0 takes a free port.
        max_bytes: largest request.

    Returns:
        The server, which `stop(grace)` ends, and its port.

    Raises:
        OSError: the port cannot be listened on.
    """
    import grpc
    from tensorflow_serving.apis import (
        model_service_pb2_grpc,
        prediction_service_pb2_grpc,
    )

    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # two servers do not share a port
        ]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        predictions, server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    return server, port
