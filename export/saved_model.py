"""Writes the served function as a SavedModel, and loads it back."""

import tensorflow as tf

from export import signatures
from export.parity import Artifact
from wukong_tf.errors import ExportError

NAME = "saved_model"


def write(served: signatures.ServedModel, folder: str):
    """Writes saved_model.pb, variables/ and assets/ into `folder`.

    Raises:
        ExportError: it could not be written.
    """
    try:
        tf.saved_model.save(
            served,
            folder,
            signatures={
                signatures.SIGNATURE: served.serve.get_concrete_function()
            },
        )
    except tf.errors.OpError as error:
        raise ExportError(
            f"the SavedModel could not be written to {folder}: {error.message}."
        ) from error


def load(served: signatures.ServedModel, folder: str) -> Artifact:
    """The SavedModel in `folder`, as parity calls it.

    Raises:
        ExportError: its inputs or outputs are not those of `served`.
    """
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures[signatures.SIGNATURE]
    for kind, expected, found in (
        ("inputs", served.inputs, function.structured_input_signature[1]),
        ("outputs", served.outputs, function.structured_outputs),
    ):
        signatures.check_written(
            NAME,
            kind,
            signatures.plain_specs(expected),
            signatures.plain_specs(found),
        )

    # `loaded` is kept alive by its use here: its variables are freed with it.
    def score(columns, loaded=loaded):
        del loaded
        outputs = function(
            **{name: tf.constant(value) for name, value in columns.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    return Artifact(NAME, score, tf.errors.InvalidArgumentError)


def versions() -> dict[str, str]:
    """Versions of the packages that wrote the format."""
    return {"tensorflow": tf.__version__}
