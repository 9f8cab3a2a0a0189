"""Data sets by the forms in which they are published."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from trainer.preparation.columns import Recipe
from trainer.preparation.records import Layout
from trainer.preparation.shards import InputFile
from wukong_tf.errors import DataError
from wukong_tf.files import FILE, FOLDER, kind_of


def check_folder(folder: str) -> None:
    """Raises DataError unless --input is a directory."""
    kind = kind_of(folder)
    if kind == FILE:
        raise DataError(
            f"--input={folder}: must be the directory of the files, but is a "
            f"file; --input={os.path.dirname(folder) or '.'} reads those whose "
            "names begin with train, valid or test."
        )
    if kind != FOLDER:
        raise DataError(f"--input={folder}: there is no such directory.")


@dataclasses.dataclass(frozen=True)
class Form:
    """One form in which a data set is published.

    Args:
        files: possible names of its file by split; a name may be a pattern
            with {} for a number from 0.
        recipe: its recipe.
        layout: layout of its files. Defaults to comma-separated text with a
            header.
        rule: rule of `Splitter` that divides rows. Defaults to "files".
        md5: MD5 of published files by name. Defaults to None, unknown.
    """

    files: Mapping[str, Sequence[str]]
    recipe: Recipe
    layout: Layout = Layout()
    rule: str = "files"
    md5: Mapping[str, str] | None = None

    def find(self, folder: str, some: bool = False) -> list[InputFile] | None:
        """Returns the files in `folder`, or None if one is missing.

        Args:
            folder: the directory.
            some: whether the files of some splits are enough. Defaults to
                False.
        """
        inputs = []
        for split, names in self.files.items():
            paths = _paths(folder, names)
            if not paths and some:
                continue
            if not paths:
                return None
            for path in paths:
                name = os.path.basename(path)
                md5 = (self.md5 or {}).get(name)
                inputs.append(InputFile(path, split, self.layout, md5))
        return inputs


def _paths(folder, names):
    for name in names:
        if "{}" not in name:
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                return [path]
            continue
        paths: list[str] = []
        while os.path.isfile(os.path.join(folder, name.format(len(paths)))):
            paths.append(os.path.join(folder, name.format(len(paths))))
        if paths:
            return paths
    return []


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A known data set.

    Args:
        name: its name in --dataset.
        forms: forms in which it is published, looked for in this order.
        min_count: least count of values with their own id. Defaults to 1.
    """

    name: str
    forms: tuple[Form, ...]
    min_count: int = 1

    def find(
        self, folder: str, some: bool = False
    ) -> tuple[Form, list[InputFile]]:
        """Returns the form present in `folder`, and its files.

        Args:
            folder: the directory.
            some: whether the files of some splits are enough. Defaults to
                False.

        Raises:
            DataError: no form is present; the message lists the names
                looked for.
        """
        check_folder(folder)
        for form in self.forms:
            files = form.find(folder, some)
            if files:
                return form, files
        wanted = "; or ".join(
            ", ".join(
                f"{split}: {' or '.join(names)}"
                for split, names in form.files.items()
            )
            for form in self.forms
        )
        names = ", ".join(sorted(os.listdir(folder))[:20]) or "nothing"
        raise DataError(
            f"--input={folder}: files of {self.name} are missing. Looked for "
            f"{wanted}. The directory has {names}."
        )
