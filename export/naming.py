"""Names of inputs and outputs, and what they may be."""

import keyword
import re

from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ExportError

PROBABILITY = "probability"
LOGIT = "logit"
OUTPUTS = (PROBABILITY, LOGIT)

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
