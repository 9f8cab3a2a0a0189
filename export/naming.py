"""Names of outputs, and of inputs for TensorFlow's Python loader."""

import collections
from collections.abc import Mapping

from wukong_tf.config import FeatureSpec

PROBABILITY = "probability"
LOGIT = "logit"
OUTPUTS = (PROBABILITY, LOGIT)


def output_names(spec: FeatureSpec) -> dict[str, tuple[str, str]]:
    """Returns the names of each task's probability and logit.

    Returns:
        dict of task name to ("probability", "logit"), with "TASK_" before
        both where there are several tasks. If a feature has that name, "_"
        follows it, as a graph has one name for one value.
    """
    inputs = set(spec.feature_names)

    def free(name):
        while name in inputs:
            name += "_"
        return name

    several = len(spec.tasks) > 1
    return {
        task.name: (
            free(f"{task.name}_{PROBABILITY}" if several else PROBABILITY),
            free(f"{task.name}_{LOGIT}" if several else LOGIT),
        )
        for task in spec.tasks
    }


def loader_names(arguments: Mapping[str, str]) -> dict[str, str]:
    """Returns the keywords by which TensorFlow's Python loader takes inputs.

    The loader writes "_" for much of a name before it looks at it. A name
    that becomes another's, or its own "self", has the graph's instead.

    Args:
        arguments: by name, what the graph calls an input.
    """
    written = {name: _as_loaded(name) for name in arguments}
    counts = collections.Counter(written.values())
    return {
        name: name
        if name != "self" and (name == text or counts[text] == 1)
        else arguments[name]
        for name, text in written.items()
    }


def _as_loaded(name):
    """The name as TensorFlow's `sanitize_arg_name` writes it."""
    text = "".join(each if each.isalnum() else "_" for each in name)
    return text if text[0].isalpha() else f"arg_{text}"
