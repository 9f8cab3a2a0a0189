"""Writes the served functions as a SavedModel, and loads it back."""

import json
import os

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from export.formats import c_api
from export.formats.artifact import Artifact
from export.formats.signature_session import SignatureSession
from export.served import missing, naming, signatures
from wukong_tf.errors import ExportError
from wukong_tf.names import arguments

NAME = "saved_model"
FILE = "saved_model.pb"
_METHODS = {
    signatures.REGRESS: "tensorflow/serving/regress",
    signatures.CLASSIFY: "tensorflow/serving/classify",
}


def write(served: signatures.ServedModel, folder: str):
    """Writes saved_model.pb, variables/ and assets/ into `folder`.

    Raises:
        ExportError: if it cannot be written.
    """
    functions = served.functions()
    keys = arguments(functions)
    try:
        tf.saved_model.save(
            served,
            folder,
            signatures={
                keys[name]: function.get_concrete_function()
                for name, function in functions.items()
            },
        )
        _finish_signatures(served, keys, os.path.join(folder, FILE))
        fingerprinting_utils.write_fingerprint(folder)
    except tf.errors.OpError as error:
        raise ExportError(
            f"the SavedModel could not be written to {folder}: {error.message}."
        ) from error


def _finish_signatures(served, keys, path):
    """Sets signatures' names, method names, and defaults of optional inputs.

    TensorFlow 2 writes Predict's method name into every signature, and takes
    defaults of positional arguments only.
    """
    with open(path, "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    (graph,) = proto.meta_graphs
    if served.origin:
        graph.meta_info_def.meta_graph_version = json.dumps(served.origin)
    defaults = {
        name: tf.make_tensor_proto(value.numpy())
        for name, value in missing.empty_inputs(served.spec).items()
    }
    inputs = {name: served.arguments[name] for name in served.inputs}
    _restore_names(graph, inputs, keys)
    for name, signature in graph.signature_def.items():
        for kind, method in _METHODS.items():
            if name == kind or name.endswith(f"_{kind}"):
                signature.method_name = method
        if name in (signatures.SIGNATURE, signatures.CANDIDATES):
            for column, value in defaults.items():
                signature.defaults[column].CopyFrom(value)
    with open(path, "wb") as file:
        file.write(proto.SerializeToString(deterministic=True))


def _restore_names(graph, inputs, keys):
    """Restores users' names of signatures and their inputs.

    Requests, and TensorFlow's Python loader, use these names; the graph uses
    identifiers.

    Args:
        graph: a MetaGraphDef.
        inputs: input name to its name in the graph.
        keys: signature name to its name in the graph.
    """
    keywords = naming.loader_names(inputs)
    _rename(graph.signature_def, keys)
    for signature in graph.signature_def.values():
        _rename(signature.inputs, inputs)
    for node in graph.object_graph_def.nodes:
        if node.HasField("bare_concrete_function"):
            words = node.bare_concrete_function.argument_keywords
            named = {inputs[name]: word for name, word in keywords.items()}
            words[:] = [named.get(word, word) for word in words]
        elif node.user_object.identifier == "signature_map":
            named = {key: name for name, key in keys.items()}
            for child in node.children:
                child.local_name = named[child.local_name]


def _rename(messages, names):
    """Renames a map's messages; `names` maps new names to old ones."""
    found = {
        name: messages[old] for name, old in names.items() if old in messages
    }
    copies = {name: type(message)() for name, message in found.items()}
    for name, message in found.items():
        copies[name].CopyFrom(message)
    for old in names.values():
        if old in messages:
            del messages[old]
    for name, message in copies.items():
        messages[name].CopyFrom(message)


def load(served: signatures.ServedModel, folder: str) -> list[Artifact]:
    """Loads the signatures in `folder` as artifacts for parity.

    Each is run in a session by the tensors that it names; `serving_default`
    is run through TensorFlow's C API, too.

    Raises:
        ExportError: if inputs or outputs are not those of `served`.
    """
    session = SignatureSession(folder)
    functions = served.functions()
    found = set(session.signatures) - {"__saved_model_init_op"}
    if found != set(functions):
        raise ExportError(
            f"{NAME}: signatures must be {sorted(functions)}; the file that "
            f"was written has {sorted(found)}."
        )
    for kind, expected, infos in (
        (
            "inputs",
            served.inputs,
            session.signatures[signatures.SIGNATURE].inputs,
        ),
        (
            "outputs",
            served.outputs,
            session.signatures[signatures.SIGNATURE].outputs,
        ),
    ):
        signatures.check_written(
            NAME,
            kind,
            signatures.plain_specs(expected),
            {name: info[1:] for name, info in infos.items()},
        )
    artifacts = [_artifact(served, name, session.run) for name in functions]
    loaded = c_api.Session(folder)
    by_c_api = _artifact(
        served,
        signatures.SIGNATURE,
        loaded.run_signature(session.signatures),
        "c_api",
    )
    return [*artifacts, by_c_api]


def _artifact(served, name, run, label=NAME):
    takes = {
        signatures.SIGNATURE: "raw",
        signatures.CANDIDATES: "candidates",
    }.get(name, "tf_example")
    task = next(
        (
            task
            for task in served.spec.tasks
            for kind in _METHODS
            if name == signatures.task_signature(served.spec, task.name, kind)
        ),
        None,
    )

    def score(columns):
        outputs = run(name, columns)
        if task is None:
            return outputs
        probability, _ = naming.output_names(served.spec)[task.name]
        if "scores" in outputs:
            return {probability: outputs["scores"][:, 1]}
        return {probability: outputs["outputs"]}

    return Artifact(
        label if name == signatures.SIGNATURE else f"{label} {name}",
        score,
        tf.errors.InvalidArgumentError,
        takes,
    )


def versions() -> dict[str, str]:
    """Returns the versions of the packages that wrote the format."""
    return {"tensorflow": tf.__version__}
