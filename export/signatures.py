"""The function that every format serves: raw columns in, scores out."""

import keyword
import re
from typing import Any

import tensorflow as tf

from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ExportError
from wukong_tf.features import Lookups, encode_served, of_ids, signature

PROBABILITY = "probability"
LOGIT = "logit"
OUTPUTS = (PROBABILITY, LOGIT)
SIGNATURE = "serving_default"

# TensorFlow renames an input, without an error, that is called otherwise.
_INPUT_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
# Taken by the names of the served function's arguments.
_TAKEN = ("self", "raw_columns")


def output_names(spec: FeatureSpec) -> dict[str, tuple[str, str]]:
    """Names of each task's probability and logit among the outputs.

    Returns:
        dict of task name to ("probability", "logit"), with "TASK_" before
        both where there are several tasks.
    """
    if len(spec.tasks) == 1:
        return {spec.tasks[0].name: OUTPUTS}
    return {
        task.name: (f"{task.name}_{PROBABILITY}", f"{task.name}_{LOGIT}")
        for task in spec.tasks
    }


class ServedModel(tf.Module):
    """A trained model as one TensorFlow function of raw columns.

    It tracks the model's variables and not its Keras layers, so that what is
    saved of it loads where there is no Keras.

    Args:
        model: a trained ClickModel with the take lookup, in float32.
        folder: directory that vocabularies are written into, for a
            SavedModel to take along as assets; it must last until that is
            saved. Defaults to None: they are held in memory, for other
            uses.

    Attributes:
        serve: the function, from a dict of columns, as `inputs` describes
            them, to the outputs that `outputs` describes, float32 [B] each:
            "probability" and "logit", or "TASK_probability" and
            "TASK_logit" for each of several tasks. The logit of a task
            whose negatives were sampled is that of the whole log.

    Raises:
        ExportError: a feature's name cannot name an input, or a task's an
            output.
    """

    def __init__(self, model, folder: str | None = None):
        super().__init__(name="served_model")
        self.spec: FeatureSpec = model.config.features
        self.lookups = Lookups(self.spec, folder)
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
    def id_inputs(self) -> dict[str, tf.TensorSpec]:
        """The same where raw values were made ids beforehand."""
        return signature(of_ids(self.spec))

    @property
    def outputs(self) -> dict[str, tf.TensorSpec]:
        """Specs of the outputs, by name."""
        return {
            name: tf.TensorSpec([None], tf.float32, name)
            for names in output_names(self.spec).values()
            for name in names
        }

    def scores(self, raw_columns):
        """What `serve` traces: a dict of columns to a dict of outputs."""
        return self._outputs(
            encode_served(self.spec, raw_columns, self.lookups)
        )

    def scores_of_ids(self, columns):
        """As `scores`, from columns as `id_inputs` describes them."""
        return self._outputs(encode_served(of_ids(self.spec), columns))

    def _outputs(self, inputs):
        logits = self.model(inputs, training=False)  # {task: [B, 1]}
        logits = self.model.served_logits(logits)
        outputs: dict[str, tf.Tensor] = {}
        for task, (probability, logit) in output_names(self.spec).items():
            flat = tf.squeeze(logits[task], axis=1)  # [B]
            outputs |= {probability: tf.sigmoid(flat), logit: flat}
        return outputs


def check_input_names(spec: FeatureSpec):
    """Refuses features and tasks that a served request could not name.

    Raises:
        ExportError: naming the feature or task and the rule.
    """
    outputs = [name for names in output_names(spec).values() for name in names]
    for name in outputs:
        if not _INPUT_NAME.fullmatch(name):
            raise ExportError(
                f"output {name!r}: the names of several tasks must be ASCII "
                "letters, digits and underscores and begin with a letter, as "
                "they begin the names of exported outputs."
            )
    if len({name.lower() for name in outputs}) < len(outputs):
        raise ExportError(
            f"outputs {outputs}: the names of tasks must differ by more than "
            "case."
        )
    taken = (*outputs, *_TAKEN)
    seen: dict[str, str] = {}
    for name in spec.feature_names:
        if not _INPUT_NAME.fullmatch(name) or keyword.iskeyword(name):
            raise ExportError(
                f"feature {name!r}: the name of an exported input must be "
                "ASCII letters, digits and underscores, begin with a letter "
                "and be no Python keyword."
            )
        if name in taken:
            raise ExportError(
                f"feature {name!r}: an exported input must not be named one "
                f"of {list(taken)}."
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
