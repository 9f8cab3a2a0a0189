"""Reads docstrings as the pages of docs/api/ show them."""

import re
from pathlib import Path
from typing import Any

import griffe

from wukong_tf import errors

_ENTRY = re.compile(r"^::: ((?:\w+\.)+(\w+))$", re.M)
# Classes that have an entry, by name; errors are among them.
CLASSES = {
    name: path
    for page in (Path(__file__).parents[1] / "api").glob("*.md")
    for path, name in _ENTRY.findall(page.read_text("utf-8"))
    if name[0].isupper() and not name.isupper()
}
_TEXT = re.compile(r"^( *(?:>>>|\.\.\. ).*)$|`([^`\n]+)`|<(?=\w)", re.M)


class Docstrings(griffe.Extension):
    """Reads Keras's `Example:` as code, and links classes and errors."""

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Lets `Raises:` name errors that the module does not import."""
        for name in vars(errors):
            if name in CLASSES and name not in mod.members:
                mod.set_member(name, griffe.Alias(name, CLASSES[name]))

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = linked(obj.docstring.value, obj.path)


def linked(text: str, path: str) -> str:
    """Returns a docstring with links to classes, whose `<x, y>` is text.

    Args:
        text: the docstring.
        path: dotted path of its object; it has no links to itself.
    """
    text = text.replace("\nExample:\n", "\nExamples:\n")
    parts = path.split(".")

    def mended(found):
        example, code = found.groups()
        if code in CLASSES and code not in parts:
            return f"[`{code}`][{CLASSES[code]}]"
        return found[0] if example or code else "&lt;"

    return _TEXT.sub(mended, text)
