"""Finds the data set that the flags name: files, recipe and split rule."""

import dataclasses
import glob
import os

from trainer.preparation import (
    datasets,
    forms,
    guesses,
    inference,
    reading,
    shards,
    text_files,
    types,
)
from trainer.preparation import earlier as earlier_preparation
from trainer.preparation.columns import Recipe
from trainer.preparation.datasets import SIDE_FILES
from trainer.preparation.earlier import Earlier
from trainer.preparation.records import Layout
from trainer.preparation.settings import OF_A_GUESS, Prepare
from trainer.preparation.shards import InputFile
from trainer.preparation.splitting import SPLITS
from wukong_tf.errors import ConfigError, DataError

ENDINGS = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a data set and how to prepare them.

    Args:
        name: its name in --dataset.
        recipe: its recipe.
        files: its files.
        rule: rule of `Splitter` that divides rows.
        min_count: the published minimum count of values with an id.
        vectors: file of the vectors by vector column.
    """

    name: str
    recipe: Recipe
    files: tuple[InputFile, ...]
    rule: str
    min_count: int
    vectors: dict[str, str]


def find(settings: Prepare, earlier: Earlier | None = None) -> Source:
    """Returns the data set that the flags name.

    Args:
        settings: settings of the preparation.
        earlier: the preparation whose recipe is reused. Defaults to None,
            the flags give the recipe.

    Raises:
        DataError: its files are missing.
        ConfigError: a flag contradicts another.
    """
    folder = settings.input
    if earlier is not None:
        return _again(settings, earlier)
    if settings.dataset in datasets.GENERIC:
        return _generic(settings, folder)
    for name in ("recipe", "delimiter", *OF_A_GUESS):
        if name in settings.given:
            raise ConfigError(
                f"--{name} contradicts --dataset={settings.dataset}; it "
                f"applies only to --dataset={' or '.join(datasets.GENERIC)}."
            )
    known = datasets.dataset(settings.dataset, settings.integer_rule)
    form, files = known.find(folder)
    for file in files:
        if not shards.has_rows(file):
            split = "" if file.split == "all" else f"{file.split} "
            raise DataError(f"{file.path}: there are no {split}rows.")
    recipe = form.recipe
    for column, name in SIDE_FILES.get(known.name, {}).items():
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            print(f"{path} is missing: feature {column!r} is left out")
            left = tuple(c for c in recipe.columns if c.name != column)
            recipe = dataclasses.replace(recipe, columns=left)
    vectors = _side_files(settings, recipe)
    return Source(
        known.name, recipe, tuple(files), form.rule, known.min_count, vectors
    )


def _again(settings, earlier):
    """Returns files of any names, to be encoded with `earlier`'s recipe."""
    recipe = earlier.recipe
    if settings.dataset in datasets.GENERIC:
        files = _any_names(settings.dataset, settings.input)
        _check_once(files)
        files = _delimited(settings, files)
    else:
        known = datasets.dataset(settings.dataset)
        _, files = known.find(settings.input, some=True)
    files = _with_rows(files)
    if not files:
        raise DataError(f"--input={settings.input}: there are no rows.")
    types.check(files, recipe)
    vectors = _side_files(settings, recipe)
    return Source(settings.dataset, recipe, tuple(files), "files", 1, vectors)


def _side_files(settings, recipe):
    """Returns the file of the vectors by vector column with a `key`."""
    paths = {}
    for column in recipe.columns:
        if column.key is None:
            continue
        name = SIDE_FILES.get(settings.dataset, {}).get(column.name)
        if name is None:
            raise ConfigError(
                f"column {column.name!r}: `key` is for vectors in a separate "
                "file, which only these data sets have: "
                f"{', '.join(SIDE_FILES)}; received --dataset="
                f"{settings.dataset}."
            )
        paths[column.name] = os.path.join(settings.input, name)
        if not os.path.isfile(paths[column.name]):
            raise DataError(
                f"{paths[column.name]}: there is no such file; it holds the "
                f"vectors of {column.name!r}."
            )
    return paths


def _any_names(dataset, path):
    """Returns a file or a directory's; names may begin with their split."""
    if os.path.isdir(path):
        paths = sorted(glob.glob(os.path.join(glob.escape(path), "*")))
        paths = [file for file in paths if file.endswith(ENDINGS[dataset])]
    elif os.path.isfile(path):
        paths = [path]
    else:
        raise DataError(f"--input={path}: there is no such file or directory.")
    return [
        _input_file(
            dataset,
            file,
            next(
                (s for s in SPLITS if os.path.basename(file).startswith(s)),
                SPLITS[-1],
            ),
        )
        for file in paths
    ]


def is_parquet(path: str) -> bool:
    """Returns whether a file starts with Parquet's magic bytes."""
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _input_file(dataset, path, split):
    layout = None
    if dataset == "csv":
        layout = Layout("\t" if path.endswith((".tsv", ".tsv.gz")) else ",")
    return InputFile(path, split, layout)


def _generic(settings, folder):
    files = _listed(settings.dataset, folder)
    if not any(file.split == "train" for file in files):
        raise DataError(
            f"--input={folder}: there is no train file; looked for "
            f"{', '.join(f'train*{e}' for e in ENDINGS[settings.dataset])}."
        )
    files = _with_rows(_delimited(settings, files))
    if not any(file.split == "train" for file in files):
        raise DataError(f"--input={folder}: there are no train rows.")
    # Without valid files, every 20th train row is a valid row.
    rule = "files" if any(f.split == "valid" for f in files) else "every"
    recipe = _recipe(settings, files)
    types.check(files, recipe)
    _check_columns(recipe, files[0])
    vectors = _side_files(settings, recipe)
    return Source(settings.dataset, recipe, tuple(files), rule, 1, vectors)


def _check_columns(recipe, file):
    """Prints the columns of a file that no feature is made of.

    Raises:
        DataError: the label is not in the file.
    """
    names = shards.names_of(next(shards.planned([file], 2**24)))
    if recipe.label not in names:
        raise DataError(
            f"{file.path}: the recipe's label, column {recipe.label!r}, is "
            f"missing; there are {', '.join(names)}. Name it by `label` in the "
            'recipe, which is "label" by default.'
        )
    unused = [repr(name) for name in names if name not in recipe.sources]
    if unused:
        print(f"not in the recipe, and left out: {', '.join(unused)}")


def _listed(dataset, folder):
    """Returns the files of a log, whose names begin with their split."""
    forms.check_folder(folder)
    files: list[InputFile] = []
    for split in SPLITS:
        for ending in ENDINGS[dataset]:
            pattern = os.path.join(glob.escape(folder), f"{split}*{ending}")
            for path in sorted(glob.glob(pattern)):
                files.append(_input_file(dataset, path, split))
    _check_once(files)
    return files


def _check_once(files):
    paths = [file.path for file in files]
    for path in paths:
        if f"{path}.gz" in paths:
            raise DataError(
                f"{path}: also exists compressed, and its rows would be read "
                "twice; remove one of the files."
            )


def _delimited(settings, files):
    """Sets the files' delimiters: --delimiter, or the detected ones."""
    if settings.dataset != "csv":
        return files
    mark = {"tab": "\t", "\\t": "\t"}.get(
        settings.delimiter, settings.delimiter
    )
    if mark is not None and (
        not mark.isascii() or len(mark) != 1 or mark in ('"', "\n", "\r")
    ):
        raise ConfigError(
            "--delimiter must be one ASCII character, or tab; received "
            f"{settings.delimiter!r}."
        )
    delimited = []
    for file in files:
        try:
            used = mark or text_files.detect_delimiter(
                file.path, file.layout.delimiter
            )
        except text_files.ERRORS as error:
            raise DataError(f"{file.path}: {error}.") from error
        delimited.append(dataclasses.replace(file, layout=Layout(used)))
    return delimited


def _with_rows(files):
    """Returns the files that hold rows, and prints the names of others."""
    with_rows = []
    for file in files:
        if shards.has_rows(file):
            with_rows.append(file)
        else:
            print(f"{file.path}: there are no rows; it is left out")
    return with_rows


def _recipe(settings, files):
    """Returns the recipe of --recipe, else that of --extend, else a guess."""
    if settings.recipe:
        for name in sorted(settings.given.intersection(OF_A_GUESS)):
            raise ConfigError(
                f"--{name} is for a guess and contradicts --recipe="
                f"{settings.recipe}; write it there, as `{name}`."
            )
        try:
            with open(settings.recipe, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--recipe={settings.recipe}: {error}.") from error
        return Recipe.from_json(text, settings.recipe)
    if settings.extend and settings.given.isdisjoint(OF_A_GUESS):
        extended = earlier_preparation.read("extend", settings.extend)
        if extended.recipe is not None:
            print(f"the recipe is that of {extended.where}")
            return extended.recipe
    return _inferred(settings, files)


def _inferred(settings, files):
    for file in files:
        first = next(shards.planned([file], 2**24))
        names = shards.names_of(first)
        rows = next(reading.read(first, names), None)
        if rows is not None and rows.num_rows:
            rows = rows.drop_columns(reading.PLACE)
            recipe = inference.infer(
                rows,
                label=settings.label,
                separator=settings.separator,
                positives=settings.positives,
                negatives=settings.negatives,
                where=first.path,
            )
            print("\n".join(guesses.report(rows, recipe, first.path)))
            return recipe
    raise DataError(f"--input={settings.input}: there are no rows.")
