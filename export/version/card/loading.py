"""The part of a model card on how to load and call the version."""

import shlex
from typing import Any

from export.version.card.markup import block, scalar

_ROWS = """
with open("examples/predict_columns.json", encoding="utf-8") as file:
    columns = json.load(file)["inputs"]
"""
_ONNX = f"""\
import json

import onnxruntime
from export.client.encode import Encoder
{_ROWS}
rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
inputs = Encoder.from_file("features.json").encode(rows)
session = onnxruntime.InferenceSession("onnx/model.onnx")
names = [output.name for output in session.get_outputs()]
print(dict(zip(names, session.run(names, inputs))))
"""
_CLIENT = f"""\
import json

from export.client.rest import RestClient
{_ROWS}
with RestClient("http://127.0.0.1:8501", MODEL) as client:
    client.wait_until_ready(60)
    print(client.predict_columns(columns))
"""


def describe(manifest: dict[str, Any], origin: dict[str, str]) -> list[str]:
    """Returns the part as Markdown.

    Args:
        manifest: content of the version's manifest.
        origin: the version's origin.
    """
    formats = manifest["formats"]
    parts = [
        "## How to load it",
        "All commands and programs are run in this directory; `examples/` has "
        "requests of held-out rows.",
    ]
    model = shlex.quote(origin["model"])
    client = _CLIENT.replace("MODEL", scalar(origin["model"]))
    if "saved_model" in formats:
        command = (
            "docker run --rm -p 8501:8501 \\\n"
            f'  -v "$PWD":/models/{model}/{origin["version"]}:ro \\\n'
            f"  -e MODEL_NAME={model} tensorflow/serving"
        )
        parts += ["TensorFlow Serving:", block("sh", command)]
    if {"saved_model", "onnx"} & {*formats}:
        parts += [
            "The local server, without TensorFlow Serving:",
            block("sh", "wukong-serve --model=."),
            "Requests to either, from a shell and from Python:",
            block("sh", "sh examples/curl.sh http://127.0.0.1:8501"),
            block("python", client),
        ]
    if "onnx" in formats:
        parts += [
            "ONNX Runtime; `encode.py` of `wukong_tf` needs only NumPy:",
            block("python", _ONNX),
        ]
    if "onnx_dense" in formats:
        parts.append(
            "`onnx/dense.onnx` takes embeddings, which are looked up elsewhere."
        )
    return parts
