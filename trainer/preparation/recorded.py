"""The preparation of a model's data, as its run and versions record it."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from trainer.preparation.columns import Recipe
from trainer.preparation.records import Layout
from trainer.preparation.shards import InputFile
from wukong_tf import files
from wukong_tf.config import FeatureSpec, schema
from wukong_tf.errors import DataError

RECIPE = "recipe.json"
LAYOUT = "layout.json"


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The recipe and layout that a model's data were prepared with.

    Args:
        recipe: the recipe.
        layout: layout of text files. Defaults to None, no text was read.
    """

    recipe: Recipe
    layout: Layout | None = None

    @classmethod
    def read(cls, folder: str) -> "Preparation | None":
        """Reads the preparation of a run or version; None if it has none.

        Raises:
            ConfigError: one of its files is invalid.
        """
        path = os.path.join(folder, RECIPE)
        text = _read(path)
        if not text:
            return None
        recipe = Recipe.from_json(text, path)
        path = os.path.join(folder, LAYOUT)
        text = _read(path)
        if not text:
            return cls(recipe)
        content = schema.parse_json(text, path)
        return cls(recipe, schema.from_dict(Layout, content, path))

    def for_model(self, where: str, spec: FeatureSpec) -> "Preparation":
        """Returns the preparation reduced to the features of `spec`.

        Args:
            where: names the preparation in errors.
            spec: the model's features.

        Raises:
            DataError: the recipe does not make a feature.
        """
        known = {column.name: column for column in self.recipe.columns}
        max_ids = {f.name: f.max_ids for f in spec.categorical}
        names = [*max_ids, *(f.name for f in spec.numeric)]
        names += [f.name for f in spec.vector]
        columns = []
        for name in names:
            column = known.get(name)
            if column is None or column.key is not None:
                reason = "is not in its recipe.json"
                if column is not None:
                    reason = "comes from a file of vectors"
                raise DataError(
                    f"{where}: feature {name!r} {reason}, so raw files "
                    "cannot be scored; give files written by "
                    "trainer.prepare --vocabularies."
                )
            if name in max_ids:
                column = dataclasses.replace(column, longest=max_ids[name])
            columns.append(column)
        recipe = dataclasses.replace(
            self.recipe, columns=tuple(columns), group=None
        )
        return dataclasses.replace(self, recipe=recipe)

    @property
    def sources(self) -> tuple[str, ...]:
        """The file columns that features are made of, each once."""
        names = [column.column for column in self.recipe.columns]
        return tuple(dict.fromkeys(names))


def _read(path):
    """Returns the text of a file, or "" if it is missing."""
    try:
        return Path(path).read_text("utf-8")
    except FileNotFoundError:
        return ""


def copy(source: str, folder: str):
    """Copies the recipe and layout of a preparation.

    Args:
        source: directory of a preparation, a run or a version.
        folder: directory of a run or a version.
    """
    for name in (RECIPE, LAYOUT):
        if text := _read(os.path.join(source, name)):
            files.write_text(os.path.join(folder, name), text)


def layout_text(inputs: Sequence[InputFile]) -> str | None:
    """Returns the layout of text files as JSON, or None if there is none."""
    layout = inputs[0].layout
    if layout is None:
        return None
    return json.dumps(schema.to_dict(layout), indent=2) + "\n"
