"""A client of TensorFlow Serving's gRPC interface.

It requires the packages grpcio, tensorflow-serving-api and tensorflow, and
retry.py of this folder, which can be copied:

    client = GrpcClient("localhost:8500", "clicks")
    client.wait_until_ready(60)
    client.predict({"user": np.array([3]), "item": np.array([7])})
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.client.retry import Client, ServerError, Transient, chunks

RETRIED = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED")
# Replies of many rows exceed gRPC's default limit of 4 MB. After a failed
# connect a channel rejects calls for a while, by default up to 2 minutes,
# longer than any deadline here.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


class GrpcClient(Client):
    """Sends requests over one channel; several threads may use it.

    Args:
        server: "HOST:PORT".
        model: name of the model.
        version: number of the version to use. Defaults to None, the one that
            the server chooses.
        label: label of the version to use, instead of its number. Defaults
            to None.
        deadline_s: longest time of a call, including all attempts and parts,
            in seconds. Defaults to 10 s.
        retries: attempts after the first. Defaults to None, as many as the
            deadline allows.
        backoff_s: longest wait before the second attempt, in seconds,
            doubled for each further one. Defaults to 0.1 s.
        max_rows: largest number of rows per request; a call with more sends
            several. Defaults to 4,096.
        credentials: TLS credentials, from `grpc.ssl_channel_credentials`.
            Defaults to None, without TLS.

    Raises:
        ImportError: if a package is missing.
        ValueError: if both `version` and `label` are given.
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        deadline_s: float = 10.0,
        retries: int | None = None,
        backoff_s: float = 0.1,
        max_rows: int = 4096,
        credentials: Any = None,
    ):
        import grpc
        from tensorflow_serving.apis import (
            model_service_pb2_grpc,
            prediction_service_pb2_grpc,
        )

        super().__init__(server, version, label, deadline_s, retries, backoff_s)
        if credentials is None:
            self._channel = grpc.insecure_channel(server, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(server, credentials, _OPTIONS)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._error = grpc.RpcError
        self._model = model
        self._version = version
        self._label = label
        self._max_rows = max_rows

    def predict(
        self,
        columns: Mapping[str, Any],
        signature: str = "serving_default",
        context: Mapping[str, Any] | None = None,
    ) -> dict[str, np.ndarray]:
        """Returns the outputs for columns.

        Args:
            columns: input to array; all with the same number of rows.
            signature: name of the signature. Defaults to "serving_default".
            context: inputs to send whole with every request, such as the
                context of candidates. Defaults to None.

        Returns:
            dict of output to array.

        Raises:
            ServerError: if the server rejects the request, with its message,
                or does not respond in time.
            ValueError: if columns have different numbers of rows.
        """
        import tensorflow as tf

        arrays = {name: _array(value) for name, value in columns.items()}
        counts = {name: len(value) for name, value in arrays.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(
                "all columns must have the same number of rows; received "
                f"{counts}."
            )
        ends = self._ends()
        parts: list[dict[str, np.ndarray]] = []
        for chunk in chunks(max(counts.values(), default=0), self._max_rows):
            request = self._request(signature)
            for name, value in arrays.items():
                request.inputs[name].CopyFrom(
                    tf.make_tensor_proto(value[chunk])
                )
            for name, value in (context or {}).items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            reply = self._call(self._stub.Predict, request, ends)
            rows = chunk.stop - chunk.start if arrays else None
            parts.append(self._outputs(reply, rows))
        if any(part.keys() != parts[0].keys() for part in parts):
            raise ServerError(
                f"{self._server}: all parts of a call must have the same "
                f"outputs; received {[sorted(part) for part in parts]}.",
                "OK",
            )
        return {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }

    def _outputs(self, reply, rows: int | None) -> dict[str, np.ndarray]:
        """Returns a reply's arrays; raises unless each has `rows` rows."""
        import tensorflow as tf

        outputs = {}
        for name, value in reply.outputs.items():
            try:
                outputs[name] = tf.make_ndarray(value)
            except (TypeError, ValueError) as error:
                raise ServerError(
                    f"{self._server}: output {name!r} is not a valid tensor: "
                    f"{error}.",
                    "OK",
                ) from error
            shape = outputs[name].shape
            if not shape or rows is not None and shape[0] != rows:
                raise ServerError(
                    f"{self._server}: output {name!r} must have one value for "
                    f"each of {rows} rows; received the shape {shape}.",
                    "OK",
                )
        if not outputs:
            raise ServerError(
                f"{self._server}: the reply has no outputs.", "OK"
            )
        return outputs

    def status(self) -> dict[int, str]:
        """Returns the state of each version, by its number."""
        return self._status(self._ends())

    def close(self):
        """Closes the channel; the client cannot be used again."""
        self._channel.close()

    def _is_available(self, seconds):
        states = self._status(time.monotonic() + seconds, once=True)
        return "AVAILABLE" in states.values()

    def _status(self, ends, once=False):
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        self._name(request.model_spec)
        reply = self._call(self._models.GetModelStatus, request, ends, once)
        kind = get_model_status_pb2.ModelVersionStatus.State
        return {
            status.version: kind.Name(status.state)
            for status in reply.model_version_status
        }

    def _request(self, signature):
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        self._name(request.model_spec)
        request.model_spec.signature_name = signature
        return request

    def _name(self, spec):
        spec.name = self._model
        if self._version is not None:
            spec.version.value = self._version
        if self._label is not None:
            spec.version_label = self._label

    def _call(self, method, request, ends, once=False):
        return self._attempt(
            lambda left: self._once(method, request, left), ends, once
        )

    def _once(self, method, request, left):
        try:
            return method(request, timeout=left)
        except self._error as error:
            code = error.code().name
            refused = ServerError(
                f"{self._server}: {code}: {error.details()}", code
            )
            if code in RETRIED:
                raise Transient(refused) from error
            raise refused from error


def _array(value):
    """Returns an array; of objects for text, as NumPy strips trailing zeros."""
    array = np.asarray(value)
    return np.asarray(value, object) if array.dtype.kind in "SU" else array
