"""manifest.json: a version's contents, origin and verification."""

import datetime
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
from export.formats.artifact import plain_specs
from export.formats.onnx import model as onnx_model
from export.served import missing, naming
from export.version import published
from wukong_tf import files, runs
from wukong_tf.config import FeatureSpec
from wukong_tf.names import listed

FILE = published.MANIFEST
FORMAT = published.FORMAT


def describe(
    served, checkpoint, report, formats, changes, settings: Export
) -> dict[str, Any]:
    """Returns the manifest without entries that depend on the draft.

    Args:
        served: the ServedModel.
        checkpoint: the Checkpoint of its weights.
        report: parity's Report.
        formats: names of the formats.
        changes: the Report of smaller forms, or None.
        settings: the export's settings.
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
            # JSON cannot represent NaN.
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
        "identifiers": listed(_layer_names(served.spec)),
        "python_keywords": _python_keywords(served),
        "batch_sizes": settings.warm_up_sizes,
        "parity": report.to_dict(),
        "smaller_forms": changes and changes.to_dict(),
        "versions": _package_versions(formats),
    }


def _package_versions(formats):
    versions = {
        "python": platform.python_version(),
        "wukong_tf": wukong_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }
    for name in formats:
        module = saved_model if name == saved_model.NAME else onnx_model
        versions |= module.versions()
    return versions


def origin(checkpoint, version: int, settings: Export) -> dict[str, str]:
    """Returns the metadata on its origin that a version's files store.

    Args:
        checkpoint: the Checkpoint of the weights.
        version: number of the version.
        settings: the export's settings.
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
    """Writes the manifest into a draft, after all other files.

    Args:
        content: manifest, as returned by `describe`.
        run_dir: the run directory; only its base name is stored, as the rest
            of the path is meaningless on other machines.
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
    files.write_json(os.path.join(draft.path, FILE), content)


def write_features(spec: FeatureSpec, draft):
    """Writes features.json, with which clients encode raw values as ids."""
    files.write_text(os.path.join(draft.path, runs.FEATURES), spec.to_json())


def _onnx_inputs(served, formats) -> dict:
    """Returns the inputs of each ONNX file by format."""
    inputs = {
        onnx_model.NAME: served.id_inputs,
        onnx_model.DENSE_NAME: served.row_inputs,
    }
    return {name: inputs[name] for name in formats if name in inputs}


def _python_keywords(served):
    """Returns the inputs that TensorFlow's Python loader renames."""
    inputs = {name: served.arguments[name] for name in served.inputs}
    keywords = naming.loader_names(inputs)
    return {name: word for name, word in keywords.items() if name != word}


def _layer_names(spec):
    """Returns the names, without duplicates, that identify parts of layers."""
    parts = (spec.categorical, spec.vector, spec.embedding_groups, spec.tasks)
    return dict.fromkeys(item.name for part in parts for item in part)


def _features(features):
    """Returns the spec's digest and its columns, without vocabularies.

    A vocabulary can be larger than the model, and requests do not need it.
    """
    columns = dict(features)
    columns["categorical"] = [
        {key: value for key, value in feature.items() if key != "vocabulary"}
        for feature in features.get("categorical", ())
    ]
    return {"digest": runs.digest(features), "columns": columns}


def _signature(served, name, function):
    """Returns the inputs and outputs of a signature."""
    examples = {
        naming.EXAMPLES: tf.TensorSpec([None], tf.string, naming.EXAMPLES)
    }
    has_columns = name in naming.COLUMN_ENCODINGS
    outputs = function.get_concrete_function().structured_outputs
    return {
        "inputs": _specs(served.inputs if has_columns else examples),
        "outputs": _specs(outputs),
    }


def _specs(specs):
    return {
        name: {"dtype": dtype, "shape": list(shape)}
        for name, (dtype, shape) in plain_specs(specs).items()
    }


def _files(folder):
    """Returns the size and SHA-256 of the files by their paths in the version.

    The card is not among them: nothing reads it, and it may be edited.
    """
    entries = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.relpath(path, folder) == published.CARD:
                continue
            entries[os.path.relpath(path, folder)] = {
                "bytes": os.path.getsize(path),
                "sha256": files.sha256(path),
            }
    return dict(sorted(entries.items()))
