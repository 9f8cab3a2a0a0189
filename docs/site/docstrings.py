"""Reads the sections of docstrings that Keras names otherwise than griffe."""

from typing import Any

import griffe


class KerasSections(griffe.Extension):
    """Reads `Example:` as the section `Examples:`, so that it is code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Renames the section in the docstring of one object."""
        if obj.docstring:
            text = obj.docstring.value
            text = text.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring.value = text
