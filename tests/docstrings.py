"""Reads the defaults that a docstring promises."""

import ast
import inspect
import re

ARGUMENT = re.compile(r"^    (\w+): (.*?)(?=^    \w|^\S|\Z)", re.M | re.S)
DEFAULT = re.compile(r"Defaults to ((?:[^.,:\s(]|\.\d)+|\(.*?\))")


def documented_defaults(documented: type) -> dict[str, object]:
    """The values after "Defaults to" in the Args section, by argument."""
    section = (inspect.getdoc(documented) or "").split("Args:\n", 1)[1]
    result = {}
    for name, text in ARGUMENT.findall(section):
        found = DEFAULT.search(" ".join(text.split()))
        if found:
            result[name] = ast.literal_eval(found.group(1))
    return result
