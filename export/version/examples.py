"""Example requests, written into each version from its own signatures."""

import base64
import json
import math
import os

import numpy as np
import pyarrow as pa

from export.served import naming, requests
from export.served.signatures import ServedModel
from export.version import warmup
from wukong_tf.names import file_name

FOLDER = "examples"
ROWS = 3

_CURL = """\
#!/bin/sh
# Sends the requests in this folder: sh curl.sh [http://HOST:PORT]
set -e
cd "$(dirname "$0")"
server="${{1:-http://localhost:8501}}"
{lines}"""

_GRPC = '''\
"""Sends predict.pbtxt: python grpc_predict.py [HOST:PORT]

Needs the packages grpcio and tensorflow-serving-api.
"""

import os
import sys

import grpc
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:8500"
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "predict.pbtxt"), encoding="utf-8") as file:
    request = text_format.Parse(file.read(), predict_pb2.PredictRequest())
# Replies of many rows are larger than gRPC's own limit of 4 MB.
options = [("grpc.max_receive_message_length", -1)]
with grpc.insecure_channel(address, options) as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    reply = stub.Predict(request, timeout=30)
for name, tensor in sorted(reply.outputs.items()):
    print(name, list(tensor.float_val))
'''


def write(
    served: ServedModel,
    samples: pa.Table,
    folder: str,
    model_name: str,
):
    """Writes requests of a few rows into examples/ of a version.

    The files are predict_rows.json and predict_columns.json, one named after
    each other signature, curl.sh, which sends them all, predict.pbtxt, and
    grpc_predict.py, which sends that one.

    Args:
        served: the model.
        samples: rows in the form of requests.
        folder: the version's directory.
        model_name: the model's name on the server.
    """
    from google.protobuf import text_format

    folder = os.path.join(folder, FOLDER)
    os.makedirs(folder)
    rows = _complete_rows(samples)
    commands = ""
    for name, (verb, body) in bodies(served, rows).items():
        file = f"{file_name(name)}.json"
        _write(folder, file, json.dumps(body, indent=1) + "\n")
        commands += (
            f"curl -fsS -d '@{file}' "
            f'"$server/v1/models/{model_name}:{verb}"\n'
        )
    _write(folder, "curl.sh", _CURL.format(lines=commands))
    columns = requests.RequestEncodings(served).raw(rows)
    log = warmup.predict_log(model_name, naming.PREDICT, columns)
    text = text_format.MessageToString(log.predict_log.request)
    _write(folder, "predict.pbtxt", text)
    _write(folder, "grpc_predict.py", _GRPC)


def bodies(served, rows: pa.Table) -> dict[str, tuple[str, dict]]:
    """Returns request name to (verb, JSON body)."""
    encodings = requests.RequestEncodings(served)
    raw = encodings.raw(rows)
    by_name: dict[str, tuple[str, dict]] = {
        "predict_rows": ("predict", {"instances": instances(raw)}),
        "predict_columns": ("predict", {"inputs": inputs(raw)}),
    }
    if served.context:
        candidates = {
            "signature_name": naming.CANDIDATES,
            "inputs": inputs(encodings.candidates(rows)),
        }
        by_name[naming.CANDIDATES] = ("predict", candidates)
    examples = [
        {name: _json_value(v) for name, v in row.items() if v is not None}
        for row in rows.to_pylist()
    ]
    tasks = [task.name for task in served.spec.tasks]
    for name, (_, kind) in naming.task_signatures(tasks).items():
        body = {"signature_name": name, "examples": examples}
        by_name[name] = (kind, body)
    return by_name


def instances(columns) -> list:
    """Returns columns as a list of rows, or the values of a single column."""
    values = inputs(columns)
    if len(values) == 1:
        return next(iter(values.values()))
    return [
        dict(zip(values, row, strict=True))
        for row in zip(*values.values(), strict=True)
    ]


def inputs(columns) -> dict[str, list]:
    """Returns columns as JSON lists; strings as text or {"b64": ...}."""
    return {name: _json_value(value) for name, value in columns.items()}


def _json_value(value):
    if isinstance(value, np.ndarray | list):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value.item() if isinstance(value, np.generic) else value


def _complete_rows(samples):
    """Returns the first rows without missing values, else the first rows."""

    def complete(row):
        return not any(
            value is None or (isinstance(value, float) and math.isnan(value))
            for value in row.values()
        )

    rows = samples.slice(0, 256).to_pylist()
    places = [place for place, row in enumerate(rows) if complete(row)]
    return samples.take((places or range(len(rows)))[:ROWS])


def _write(folder, name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)
