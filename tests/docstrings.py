"""Reads the defaults documented by docstrings."""

import ast
import inspect
import re

ARGUMENT = re.compile(r"^    (\w+): (.*?)(?=^    \w|^\S|\Z)", re.M | re.S)
DEFAULT = re.compile(r"Defaults to ((?:[^.,:\s(]|\.\d)+|\(.*?\))")


def documented_defaults(documented: type) -> dict[str, object]:
    """Returns the values after "Defaults to" in Args, by argument."""
    section = (inspect.getdoc(documented) or "").split("Args:\n", 1)[1]
    result = {}
    for name, text in ARGUMENT.findall(section):
        found = DEFAULT.search(" ".join(text.split()))
        if found:
            result[name] = ast.literal_eval(found.group(1))
    return result
