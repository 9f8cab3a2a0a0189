"""Names of outputs, and of inputs for TensorFlow's Python loader."""

import collections
from collections.abc import Mapping

from wukong_tf import names
from wukong_tf.config import FeatureSpec


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
    written = {name: _as_loaded(name) for name in arguments}
    counts = collections.Counter(written.values())
    return {
        name: name
        if name != "self" and (name == text or counts[text] == 1)
        else arguments[name]
        for name, text in written.items()
    }


def _as_loaded(name):
    """Returns the name after TensorFlow's `sanitize_arg_name`."""
    text = "".join(each if each.isalnum() else "_" for each in name)
    return text if text[0].isalpha() else f"arg_{text}"
