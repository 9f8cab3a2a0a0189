"""Writes the served functions as a SavedModel, and loads it back."""

import copy
import json
import os

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from export.formats import c_api
from export.formats.artifact import (
    Artifact,
    Loaded,
    check_written,
    plain_specs,
)
from export.formats.mapped_session import MappedSession
from export.formats.signature_session import SignatureSession, read_signatures
from export.served import missing, naming
from export.served.signatures import ServedModel
from wukong_tf.errors import ExportError
from wukong_tf.names import arguments

NAME = "saved_model"
FILE = "saved_model.pb"


def write(served: ServedModel, folder: str):
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
    for name in keys:
        signature = graph.signature_def[name]
        signature.method_name = naming.method(name)
        if name in naming.COLUMN_ENCODINGS:
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
            new = {inputs[name]: keyword for name, keyword in keywords.items()}
            words[:] = [new.get(word, word) for word in words]
        elif node.user_object.identifier == "signature_map":
            new = {key: name for name, key in keys.items()}
            for child in node.children:
                child.local_name = new[child.local_name]


def _rename(messages, names):
    """Renames a map's messages; `names` maps new names to old ones."""
    copies = {
        name: copy.deepcopy(messages[old])
        for name, old in names.items()
        if old in messages
    }
    for old in names.values():
        messages.pop(old, None)
    for name, message in copies.items():
        messages[name].CopyFrom(message)


def load(served: ServedModel, folder: str) -> list[Artifact]:
    """Returns the signatures in `folder` as artifacts for parity.

    They are loaded at their first use. Each is run in a session by the tensors
    that it names; `serving_default` is run through TensorFlow's C API, too,
    unless tables are mapped, which it would read into memory.

    Raises:
        ExportError: if inputs or outputs are not those of `served`.
    """
    signatures = read_signatures(folder)
    functions = served.functions()
    if signatures.keys() != functions.keys():
        raise ExportError(
            f"{NAME}: signatures must be {sorted(functions)}; the written "
            f"file has {sorted(signatures)}."
        )
    written = signatures[naming.PREDICT]
    for kind, expected, infos in (
        ("inputs", served.inputs, written.inputs),
        ("outputs", served.outputs, written.outputs),
    ):
        specs = {name: info[1:] for name, info in infos.items()}
        check_written(NAME, kind, plain_specs(expected), specs)
    session = Loaded(lambda: signature_session(served, folder))
    artifacts = [_artifact(served, name, session) for name in functions]
    if not served.table_files:
        in_c = Loaded(lambda: c_api.Session(folder, signatures))
        artifacts.append(_artifact(served, naming.PREDICT, in_c, "c_api"))
    return artifacts


def signature_session(served: ServedModel, folder: str) -> SignatureSession:
    """Returns a session of `folder`, with mapped tables where `served` has."""
    if served.table_files:
        return MappedSession(folder, served.table_files)
    return SignatureSession(folder)


def _artifact(served, name, session, label=NAME):
    tasks = naming.task_signatures(task.name for task in served.spec.tasks)

    def score(columns):
        outputs = session.get().run(name, columns)
        if name not in tasks:
            return outputs
        probability, _ = naming.output_names(served.spec)[tasks[name][0]]
        if "scores" in outputs:
            return {probability: outputs["scores"][:, 1]}
        return {probability: outputs["outputs"]}

    return Artifact(
        label if name == naming.PREDICT else f"{label} {name}",
        score,
        tf.errors.InvalidArgumentError,
        naming.COLUMN_ENCODINGS.get(name, "tf_example"),
        loaded=session,
    )


def versions() -> dict[str, str]:
    """Returns the versions of the packages that wrote the format."""
    return {"tensorflow": tf.__version__}
