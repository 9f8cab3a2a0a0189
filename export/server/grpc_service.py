"""TensorFlow Serving's gRPC services, on messages of tensorflow-serving-api."""

import logging
import time
from collections.abc import Callable
from typing import Any

from export.served.naming import CLASSIFY, PREDICT, REGRESS
from export.server import calls, grpc_messages, wire
from export.server.arrivals import spread
from export.server.batching import Overloaded
from export.server.measures import Measures
from export.server.versions import NotServed, Versions, check_label
from export.version.engines import Refused

INTERNAL_ERROR = "internal error; see the server's log."
log = logging.getLogger("wukong.serve")


class _Service:
    """Base class of the services.

    Args:
        name: the model's name.
        versions: the served version.
        measures: the metrics.
    """

    def __init__(self, name: str, versions: Versions, measures: Measures):
        self._name = name
        self._versions = versions
        self._measures = measures

    def _version(self, spec) -> int | None:
        """Returns the version that a request asks for, or None."""
        if spec.name != self._name:
            raise NotServed(
                f"Servable not found for request: Latest({spec.name:.100}); "
                f"the served model is {self._name}."
            )
        kind = spec.WhichOneof("version_choice")
        if kind == "version_label":
            check_label(spec.version_label)
        return spec.version.value if kind == "version" else None

    async def _respond(self, context, verb: str, work: Callable) -> Any:
        """Returns the reply, or aborts the call with an error's status."""
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
        except Exception:  # noqa: BLE001 the server keeps running
            log.exception("gRPC %s", verb)
            code = grpc.StatusCode.INTERNAL
            error = INTERNAL_ERROR
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

    async def _unimplemented(self, context, name):
        import grpc

        await context.abort(
            grpc.StatusCode.UNIMPLEMENTED, f"{name} is not implemented."
        )


class Predictions(_Service):
    """PredictionService.

    Args:
        name: the model's name.
        versions: the served version.
        measures: the metrics.
        admit: `Scoring.admit`.
    """

    def __init__(
        self,
        name: str,
        versions: Versions,
        measures: Measures,
        admit: Callable,
    ):
        super().__init__(name, versions, measures)
        self._admit = admit

    async def Predict(self, request, context):
        """Scores tensors."""

        async def work():
            spec, size = request.model_spec, request.ByteSize()
            async with self._admit(size, self._version(spec)) as entry:
                loaded, admitted = entry
                name = spec.signature_name or PREDICT
                grpc_messages.check_tensors(
                    request, loaded.engine.signatures.get(name)
                )
                body = await spread(
                    size, grpc_messages.body_from_request, request, name
                )
                scored = await calls.predict(loaded, body, size, admitted)
            outputs = list(request.output_filter) or scored.outputs
            for output in outputs:
                if output not in scored.outputs:
                    raise wire.BadRequest(
                        "output_filter must be some of "
                        f"{list(scored.outputs)}; received {output!r:.100}."
                    )
            return grpc_messages.predict_reply(
                self._model_spec(spec, loaded, name),
                {output: scored.outputs[output] for output in outputs},
            )

        return await self._respond(context, "predict", work)

    async def Regress(self, request, context):
        """Scores tf.Examples."""
        from tensorflow_serving.apis import regression_pb2

        async def work():
            spec, values = await self._on_examples(request, REGRESS)
            reply = regression_pb2.RegressionResponse(model_spec=spec)
            for value in values.tolist():
                reply.result.regressions.add(value=value)
            return reply

        return await self._respond(context, REGRESS, work)

    async def Classify(self, request, context):
        """Scores tf.Examples; returns both classes."""
        from tensorflow_serving.apis import classification_pb2

        async def work():
            spec, values = await self._on_examples(request, CLASSIFY)
            reply = classification_pb2.ClassificationResponse(model_spec=spec)
            for row in calls.class_scores(values):
                classes = reply.result.classifications.add().classes
                for label, score in row:
                    classes.add(label=label, score=score)
            return reply

        return await self._respond(context, CLASSIFY, work)

    async def _on_examples(self, request, kind):
        spec, size = request.model_spec, request.ByteSize()
        async with self._admit(size, self._version(spec)) as entry:
            loaded, admitted = entry
            body = await spread(
                size,
                grpc_messages.body_from_examples,
                request.input,
                loaded.engine.signatures[PREDICT],
            )
            body["signature_name"] = spec.signature_name
            values = await calls.on_examples(loaded, body, kind, size, admitted)
        return self._model_spec(spec, loaded, spec.signature_name), values

    def _model_spec(self, requested, loaded, signature: str):
        spec = type(requested)(name=self._name, signature_name=signature)
        spec.version.value = loaded.published.version
        return spec

    async def GetModelMetadata(self, request, context):
        """Returns the signatures."""

        async def work():
            version = self._version(request.model_spec)
            if list(request.metadata_field) != ["signature_def"]:
                raise wire.BadRequest(
                    "metadata_field must be ['signature_def']; received "
                    f"{list(request.metadata_field)!r:.200}."
                )
            async with self._versions.using(version) as loaded:
                return grpc_messages.metadata_reply(
                    self._model_spec(request.model_spec, loaded, ""),
                    loaded.engine.signatures,
                )

        return await self._respond(context, "other", work)

    async def MultiInference(self, request, context):
        """Aborts with UNIMPLEMENTED."""
        await self._unimplemented(context, "MultiInference")


class Models(_Service):
    """ModelService."""

    async def GetModelStatus(self, request, context):
        """Returns the state of each version."""
        from tensorflow_serving.apis import get_model_status_pb2

        async def work():
            version = self._version(request.model_spec)
            kind = get_model_status_pb2.ModelVersionStatus.State
            reply = get_model_status_pb2.GetModelStatusResponse()
            for state in self._versions.states(version):
                status = reply.model_version_status.add(
                    version=int(state["version"]),
                    state=kind.Value(state["state"]),
                )
                failed = state["status"]["error_code"] != "OK"
                status.status.error_code = 2 if failed else 0  # UNKNOWN
                status.status.error_message = state["status"]["error_message"]
            return reply

        return await self._respond(context, "other", work)

    async def HandleReloadConfigRequest(self, request, context):
        """Aborts with UNIMPLEMENTED."""
        await self._unimplemented(context, "HandleReloadConfigRequest")


async def start(
    predictions: Predictions, models: Models, address: str, max_bytes: int
) -> tuple[Any, int]:
    """Starts the gRPC server.

    Args:
        predictions: the PredictionService.
        models: the ModelService.
        address: "HOST:PORT"; port 0 for a free one.
        max_bytes: largest size of a request.

    Returns:
        The server, to be stopped by `stop(grace)`, and its port.

    Raises:
        OSError: if the server cannot listen on the port.
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
            ("grpc.so_reuseport", 0),  # servers must not share a port
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
