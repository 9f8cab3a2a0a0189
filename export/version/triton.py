"""Export of a version to a model repository of Triton Inference Server."""

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

from export.served.naming import PREDICT
from export.version import published
from wukong_tf import files, runs
from wukong_tf.errors import ExportError

CONFIG = "config.pbtxt"
_FILE = "model.onnx"
_TYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32"}


def write(version: str, repository: str, name: str, sizes: Sequence[int]):
    """Copies a version to REPOSITORY/NAME/NUMBER/model.onnx.

    Next to the NUMBER directory it writes config.pbtxt and features.json,
    with which encode.py encodes raw values as ids. The version's directory
    is created by one rename; existing versions are kept.

    Args:
        version: directory of a published version with onnx/model.onnx.
        repository: directory of models; created if missing.
        name: the model's name.
        sizes: batch sizes of warm-up requests, ascending; the last is the
            largest batch.

    Raises:
        ExportError: if the version already exists, or cannot be written.
    """
    about = published.read(version)
    model = os.path.join(repository, name)
    target = os.path.join(model, os.path.basename(version))
    if os.path.exists(target):
        raise ExportError(
            f"--triton={repository}: {target} already exists; versions are "
            "never overwritten."
        )
    unfinished = f"{target}{files.UNFINISHED}"
    try:
        os.makedirs(model, exist_ok=True)
        files.remove(unfinished)
        os.mkdir(unfinished)
        for suffix in ("", ".data"):
            path = os.path.join(version, "onnx", f"{_FILE}{suffix}")
            if os.path.exists(path):
                shutil.copy(path, unfinished)
        with open(os.path.join(version, runs.FEATURES)) as file:
            files.write_text(os.path.join(model, runs.FEATURES), file.read())
        files.write_text(
            os.path.join(model, CONFIG), config(about, name, sizes)
        )
        files.replace_folder(unfinished, target)
    except OSError as error:
        files.remove(unfinished)
        raise ExportError(
            f"--triton={repository} cannot be written: {error}."
        ) from error


def config(about: published.Published, name: str, sizes: Sequence[int]) -> str:
    """Returns the text of config.pbtxt.

    Args:
        about: the version.
        name: the model's name.
        sizes: batch sizes of warm-up requests; the largest is the maximum.
    """
    inputs = about.manifest["onnx_inputs"]["onnx"]
    outputs = about.manifest["signatures"][PREDICT]["outputs"]
    checkpoint = about.manifest["checkpoint"]
    origin = {
        "run": about.manifest["run"],
        "step": str(checkpoint["step"]),
        "digest": checkpoint["digest"],
        "made_by": f"wukong_tf {about.manifest['versions']['wukong_tf']}",
    }
    parts: list[tuple[str, Any]] = [
        ("name", name),
        ("backend", "onnxruntime"),
        ("default_model_filename", _FILE),
        ("max_batch_size", max(sizes)),
        *(("input", _tensor(*item)) for item in inputs.items()),
        *(("output", _tensor(*item)) for item in outputs.items()),
        ("dynamic_batching", []),
        *(("model_warmup", _warmup(inputs, size)) for size in sizes),
        *(
            ("parameters", [("key", key), ("value", [("string_value", value)])])
            for key, value in origin.items()
        ),
    ]
    return "\n".join(_lines(parts)) + "\n"


def _tensor(name, spec):
    """Returns the entry of an input or output, without its batch dimension.

    If no dimension is left, the server requires [1] and an empty reshape.
    """
    _, *dims = spec["shape"]
    fields: list[tuple[str, Any]] = [
        ("name", name),
        ("data_type", _Word(_TYPES[spec["dtype"]])),
        *(("dims", size) for size in dims or [1]),
    ]
    return fields if dims else [*fields, ("reshape", [])]


def _warmup(inputs, size):
    """Returns a warm-up request of zeros for all inputs."""
    tensors = [
        ("inputs", [("key", name), ("value", _zeros(spec))])
        for name, spec in inputs.items()
    ]
    return [("name", f"{size} rows"), ("batch_size", size), *tensors]


def _zeros(spec):
    return [
        ("data_type", _Word(_TYPES[spec["dtype"]])),
        *(("dims", dim) for dim in spec["shape"][1:] or [1]),
        ("zero_data", _Word("true")),
    ]


class _Word(str):
    """A text-format value that is written without quotes."""


def _lines(parts, indent=""):
    for key, value in parts:
        if isinstance(value, list):
            yield f"{indent}{key} {{"
            yield from _lines(value, f"{indent}  ")
            yield f"{indent}}}"
        elif isinstance(value, str) and not isinstance(value, _Word):
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"
        else:
            yield f"{indent}{key}: {value}"
