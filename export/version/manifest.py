"""manifest.json: what a version is, what made it, and how it was proven."""

import datetime
import json
import os
import platform
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

import wukong_tf
from export.flags import Export
from export.formats import saved_model
from export.formats.onnx import model as onnx_model
from export.served import missing, naming, signatures
from export.version import published
from wukong_tf import files, runs
from wukong_tf.config import FeatureSpec
from wukong_tf.names import listed

FILE = published.MANIFEST
FORMAT = published.FORMAT


def describe(
    served, checkpoint, report, formats, changes, settings: Export
) -> dict[str, Any]:
    """Returns the manifest but for what depends on the draft directory.

    Args:
        served: the ServedModel.
        checkpoint: the Checkpoint that its weights came from.
        report: parity's Report.
        formats: names of the formats.
        changes: the Report of smaller forms, or None.
        settings: of the export.
    """
    model = served.model.config.to_dict()
    features = model.pop("features")
    return {
        "format": FORMAT,
        "formats": formats,
        "model_name": settings.model_name,
        "checkpoint": {
            "step": checkpoint.step,
            "digest": runs.digest(checkpoint.entries),
        },
        "precision": {
            "tables": settings.tables,
            "dense": "float32",
            "onnx_dense": settings.onnx_dense,
        },
        "model": model,
        "features": _features(features),
        "signatures": {
            name: _signature(served, name, function)
            for name, function in served.functions().items()
        },
        "onnx_inputs": {
            name: _specs(specs)
            for name, specs in _onnx_inputs(served, formats).items()
        },
        "optional_inputs": {
            # JSON has no NaN.
            name: None if value != value else value
            for name, value in missing.missing_values(served.spec).items()
        },
        "context_features": list(served.context),
        "outputs": {
            task: {"probability": probability, "logit": logit}
            for task, (probability, logit) in naming.output_names(
                served.spec
            ).items()
        },
        "identifiers": listed(_names_in_layers(served.spec)),
        "python_keywords": _python_keywords(served),
        "batch_sizes": settings.warm_up_sizes,
        "parity": report.to_dict(),
        "smaller_forms": changes and changes.to_dict(),
        "versions": _versions(formats),
    }


def _versions(formats):
    return {
        "python": platform.python_version(),
        "wukong_tf": wukong_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        **_writers(formats),
    }


def origin(checkpoint, version: int, settings: Export) -> dict[str, str]:
    """What a file of a version says of where it came from.

    Args:
        checkpoint: the Checkpoint that its weights came from.
        version: its number.
        settings: of the export.
    """
    return {
        "model": settings.model_name,
        "version": str(version),
        "run": _run_name(settings.run_dir),
        "step": str(checkpoint.step),
        "digest": runs.digest(checkpoint.entries),
        "made_by": f"wukong_tf {wukong_tf.__version__}",
    }


def _run_name(run_dir):
    return os.path.basename(os.path.realpath(run_dir))


def write(content: dict[str, Any], run_dir: str, draft):
    """Writes the manifest, last, into a draft.

    Args:
        content: as `describe` gives it.
        run_dir: the run; only its own name is noted, as the rest of the
            path means nothing elsewhere.
        draft: the publish.Draft.
    """
    now = datetime.datetime.now(datetime.UTC)
    content = {
        "created": now.isoformat(timespec="seconds"),
        "version": draft.version,
        "run": _run_name(run_dir),
        **content,
        "files": _files(draft.path),
    }
    with open(os.path.join(draft.path, FILE), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def write_features(spec: FeatureSpec, draft):
    """Writes features.json, by which clients make ids of raw values."""
    path = os.path.join(draft.path, runs.FEATURES)
    with open(path, "w", encoding="utf-8") as file:
        file.write(spec.to_json())


def _writers(formats) -> dict[str, str]:
    """Versions of the packages that wrote the formats."""
    found = {}
    for name in formats:
        module = saved_model if name == saved_model.NAME else onnx_model
        found.update(module.versions())
    return found


def _onnx_inputs(served: signatures.ServedModel, formats) -> dict:
    """Inputs of each ONNX file, by its format."""
    inputs = {
        onnx_model.NAME: served.id_inputs,
        onnx_model.DENSE_NAME: served.row_inputs,
    }
    return {name: inputs[name] for name in formats if name in inputs}


def _python_keywords(served):
    """Inputs that TensorFlow's Python loader takes by another name."""
    inputs = {name: served.arguments[name] for name in served.inputs}
    words = naming.loader_names(inputs)
    return {name: word for name, word in words.items() if name != word}


def _names_in_layers(spec):
    """Names that layers have a part of."""
    parts = (spec.categorical, spec.vector, spec.embedding_groups, spec.tasks)
    return dict.fromkeys(each.name for part in parts for each in part)


def _features(features):
    """The spec's digest, and its columns without their vocabularies.

    A vocabulary can be larger than the model, and no request needs it.
    """
    columns = dict(features)
    columns["categorical"] = [
        {key: value for key, value in each.items() if key != "vocabulary"}
        for each in features.get("categorical", ())
    ]
    return {"digest": runs.digest(features), "columns": columns}


def _signature(served, name, function):
    """Inputs and outputs of a signature; "inputs" alone are tf.Examples."""
    outputs = function.get_concrete_function().structured_outputs
    raw = name in (signatures.SIGNATURE, signatures.CANDIDATES)
    examples = {
        signatures.EXAMPLES: tf.TensorSpec(
            [None], tf.string, signatures.EXAMPLES
        )
    }
    return {
        "inputs": _specs(served.inputs if raw else examples),
        "outputs": _specs(outputs),
    }


def _specs(specs):
    return {
        name: {"dtype": dtype, "shape": list(shape)}
        for name, (dtype, shape) in signatures.plain_specs(specs).items()
    }


def _files(folder):
    """Bytes and SHA-256 of every file, by its path in the version."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = {
                "bytes": os.path.getsize(path),
                "sha256": files.sha256(path),
            }
    return dict(sorted(found.items()))
