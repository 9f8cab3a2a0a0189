"""Names of signatures and outputs, and of inputs in TensorFlow's loader."""

import collections
from collections.abc import Iterable, Mapping

from wukong_tf import names
from wukong_tf.config import FeatureSpec

PREDICT = "serving_default"
CANDIDATES = "candidates"
TF_EXAMPLE = "tf_example"
REGRESS, CLASSIFY = "regress", "classify"
EXAMPLES = "inputs"  # the input name required by Regress and Classify
# Signatures that take named columns, with the encoding of their rows; all
# others take serialized tf.Examples.
COLUMN_ENCODINGS = {PREDICT: "raw", CANDIDATES: "candidates"}


def task_signatures(tasks: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns signature name to (task, "regress" or "classify").

    The name is KIND of a single task, and TASK_KIND of one of several.
    """
    tasks = list(tasks)
    return {
        kind if len(tasks) == 1 else f"{task}_{kind}": (task, kind)
        for task in tasks
        for kind in (REGRESS, CLASSIFY)
    }


def method(signature: str) -> str:
    """Returns the method name that TensorFlow Serving knows a signature by."""
    kind = signature.rpartition("_")[2]
    known = kind in (REGRESS, CLASSIFY)
    return f"tensorflow/serving/{kind if known else 'predict'}"


def output_names(spec: FeatureSpec) -> dict[str, tuple[str, str]]:
    """Returns the names of each task's probability and logit."""
    tasks = [task.name for task in spec.tasks]
    return names.output_names(tasks, spec.feature_names)


def loader_names(arguments: Mapping[str, str]) -> dict[str, str]:
    """Returns each input's keyword argument in TensorFlow's Python loader.

    The loader replaces many characters by "_". A name that then collides with
    another, or is "self", is replaced by the input's name in the graph.

    Args:
        arguments: input name to its name in the graph.
    """
    keywords = {name: _sanitized(name) for name in arguments}
    counts = collections.Counter(keywords.values())
    return {
        name: name
        if name != "self" and (name == keyword or counts[keyword] == 1)
        else arguments[name]
        for name, keyword in keywords.items()
    }


def _sanitized(name):
    """Returns the name after TensorFlow's `sanitize_arg_name`."""
    text = "".join(letter if letter.isalnum() else "_" for letter in name)
    return text if text[0].isalpha() else f"arg_{text}"
