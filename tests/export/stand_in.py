"""A fake of TensorFlow Serving in this process.

It runs requests in a session, by the tensors that signatures name, like
Serving's classic path, and responds on loopback by REST and gRPC. It shares no
code with Serving: its purpose is to test clients and requests.
"""

import base64
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.formats.signature_session import SignatureSession


class Faults:
    """Injected faults of the server, and a record of its requests."""

    def __init__(self):
        self.failing = 0  # number of next requests to answer with 503
        self.state = "AVAILABLE"
        self.asked = 0  # number of received requests
        self.seen = []  # (verb, rows) of each answered request


def arrays(session, name, inputs, by_row):
    """Returns JSON values as arrays of a signature, by Serving's rules."""
    signature = session.signatures[name]
    if by_row:
        if len(signature.inputs) == 1 and not (
            isinstance(inputs[0], dict) and "b64" not in inputs[0]
        ):
            inputs = {next(iter(signature.inputs)): inputs}
        else:
            names = inputs[0].keys()
            if any(row.keys() != names for row in inputs):
                raise ValueError("rows must have the same inputs")
            inputs = {each: [row[each] for row in inputs] for each in names}
    found = {}
    for each, values in inputs.items():
        _, dtype, _ = signature.inputs[each]
        if dtype == "string":
            found[each] = np.vectorize(_bytes, otypes=[object])(
                np.array(values, object)
            )
            continue
        array = np.array(values)
        kinds = "i" if dtype == "int64" else "if"
        if array.dtype.kind not in kinds:
            raise ValueError(f"{each}: {array.dtype} is not {dtype}")
        found[each] = array.astype(dtype)
    return found


def _bytes(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode()


def example_of(features):
    """Returns the tf.Example of a JSON object, by Serving's rules."""
    example = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kept = example.features.feature[name]
        if all(isinstance(each, str) for each in values):
            kept.bytes_list.value.extend(each.encode() for each in values)
        elif all(isinstance(each, int) for each in values):
            kept.int64_list.value.extend(values)
        else:
            kept.float_list.value.extend(values)
    return example.SerializeToString()


def _handler(name, session, faults, version):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            state = {"version": str(version), "state": faults.state}
            self.answer(200, {"model_version_status": [state]})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            faults.asked += 1
            if faults.failing:
                faults.failing -= 1
                return self.answer(503, {"error": "not now"})
            path, _, verb = self.path.rpartition(":")
            expected = f"/v1/models/{name}"
            if path not in (
                expected,
                f"{expected}/versions/{version}",
                f"{expected}/labels/stable",
            ):
                return self.answer(404, {"error": f"no {path}"})
            try:
                self.answer(200, self.content(verb, json.loads(body)))
            except (KeyError, ValueError, tf.errors.OpError) as error:
                self.answer(400, {"error": str(error)})

        def content(self, verb, body):
            signature = body.get("signature_name", "serving_default")
            if verb == "predict":
                by_row = "instances" in body
                given = body["instances"] if by_row else body["inputs"]
                columns = arrays(session, signature, given, by_row)
                outputs = session.run(signature, columns)
                lists = {n: v.tolist() for n, v in outputs.items()}
                faults.seen.append((verb, len(next(iter(lists.values())))))
                if not by_row:
                    alone = len(lists) == 1
                    return {"outputs": lists.popitem()[1] if alone else lists}
                rows = zip(*lists.values(), strict=True)
                return {
                    "predictions": [
                        dict(zip(lists, row, strict=True)) for row in rows
                    ]
                }
            context = body.get("context", {})
            texts = [example_of({**context, **e}) for e in body["examples"]]
            outputs = session.run(
                signature, {"inputs": np.array(texts, object)}
            )
            faults.seen.append((verb, len(texts)))
            if verb == "regress":
                return {"results": outputs["outputs"].tolist()}
            return {
                "results": [
                    [[c.decode(), s] for c, s in zip(*row, strict=True)]
                    for row in zip(
                        outputs["classes"].tolist(),
                        outputs["scores"].tolist(),
                        strict=True,
                    )
                ]
            }

    return Handler


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, name, session, faults):
        self._name = name
        self._session = session
        self._faults = faults

    def Predict(self, request, context):
        self._faults.asked += 1
        if self._faults.failing:
            self._faults.failing -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        if request.model_spec.name != self._name:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
        columns = {n: tf.make_ndarray(v) for n, v in request.inputs.items()}
        try:
            outputs = self._session.run(
                request.model_spec.signature_name, columns
            )
        except (ValueError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        reply = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            reply.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        self._faults.seen.append(("predict", len(value)))
        return reply


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, version, faults):
        self._version = version
        self._faults = faults

    def GetModelStatus(self, request, context):
        reply = get_model_status_pb2.GetModelStatusResponse()
        kind = get_model_status_pb2.ModelVersionStatus.State
        reply.model_version_status.add(
            version=self._version, state=kind.Value(self._faults.state)
        )
        return reply


@contextlib.contextmanager
def running(folder, name, version):
    """Serves a version; yields (REST address, gRPC address, Faults)."""
    session, faults = SignatureSession(folder), Faults()
    rest = ThreadingHTTPServer(
        ("127.0.0.1", 0), _handler(name, session, faults, version)
    )
    thread = threading.Thread(target=rest.serve_forever, daemon=True)
    thread.start()
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _Predictions(name, session, faults), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _Models(version, faults), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield (
            f"http://127.0.0.1:{rest.server_address[1]}",
            f"127.0.0.1:{port}",
            faults,
        )
    finally:
        server.stop(None).wait()
        rest.shutdown()
        rest.server_close()
        thread.join()
        session.close()
