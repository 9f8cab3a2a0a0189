"""The function that every format serves: raw columns in, scores out."""

import keyword
import re
from typing import Any

import tensorflow as tf

from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ExportError
from wukong_tf.features import encode_served, signature

PROBABILITY = "probability"
LOGIT = "logit"
SIGNATURE = "serving_default"

# TensorFlow renames an input, without an error, that is called otherwise.
_INPUT_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
# Taken by the outputs, and by the names of the served function's arguments.
_TAKEN = (PROBABILITY, LOGIT, "self", "raw_columns")


class ServedModel(tf.Module):
    """A trained model as one TensorFlow function of raw columns.

    It tracks the model's variables and not its Keras layers, so that what is
    saved of it loads where there is no Keras.

    Args:
        model: a trained ClickModel with the take lookup, in float32.

    Attributes:
        serve: the function, from a dict of columns, as `inputs` describes
            them, to {"probability": float32 [B], "logit": float32 [B]}.

    Raises:
        ExportError: a feature's name cannot name an input.
    """

    def __init__(self, model):
        super().__init__(name="served_model")
        self.spec: FeatureSpec = model.config.features
        check_input_names(self.spec)
        self._model = _Untracked(model)
        self.weights = {
            weight.path.partition("/")[2]: weight.value
            for weight in model.weights
        }
        self.serve = tf.function(
            self.scores, input_signature=[signature(self.spec)]
        )

    @property
    def model(self):
        """The Keras model."""
        return self._model.value

    @property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the inputs, by feature name."""
        return signature(self.spec)

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the outputs, by name."""
        return {
            name: tf.TensorSpec([None], tf.float32, name)
            for name in (PROBABILITY, LOGIT)
        }

    def scores(self, raw_columns):
        """What `serve` traces: a dict of columns to a dict of outputs."""
        inputs = encode_served(self.spec, raw_columns)
        (logits,) = self.model(inputs, training=False).values()  # [B, 1]
        logit = tf.squeeze(logits, axis=1)  # [B]
        return {PROBABILITY: tf.sigmoid(logit), LOGIT: logit}


def check_input_names(spec: FeatureSpec):
    """Refuses features that a served request could not name.

    Raises:
        ExportError: naming the feature and the rule.
    """
    seen: dict[str, str] = {}
    for name in spec.feature_names:
        if not _INPUT_NAME.fullmatch(name) or keyword.iskeyword(name):
            raise ExportError(
                f"feature {name!r}: the name of an exported input must be "
                "ASCII letters, digits and underscores, begin with a letter "
                "and be no Python keyword."
            )
        if name in _TAKEN:
            raise ExportError(
                f"feature {name!r}: an exported input must not be named one "
                f"of {list(_TAKEN)}."
            )
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ExportError(
                f"features {other!r} and {name!r}: the names of exported "
                "inputs must differ by more than case."
            )


def check_written(
    where: str, kind: str, expected: dict[str, Any], found: dict[str, Any]
):
    """Refuses an artifact whose inputs or outputs are not the signature's.

    Args:
        where: names the artifact in the error.
        kind: "inputs" or "outputs".
        expected: name to (dtype, shape).
        found: the same of the artifact.
    """
    if found != expected:
        raise ExportError(
            f"{where}: {kind} must be {expected}; the file that was written "
            f"has {found}."
        )


def plain_specs(specs) -> dict[str, Any]:
    """TensorSpecs as name to (dtype, shape); None is any batch size."""
    return {
        name: (spec.dtype.name, tuple(spec.shape.as_list()))
        for name, spec in specs.items()
    }


class _Untracked:
    """Holds a value that saving must not follow."""

    def __init__(self, value):
        self.value = value
