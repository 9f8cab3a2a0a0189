"""The data set that the flags name: its files, recipe and split rule."""

import dataclasses
import glob
import os

from trainer.preparation import datasets, inference, shards
from trainer.preparation.columns import Recipe
from trainer.preparation.datasets import SIDE_FILES
from trainer.preparation.shards import InputFile, Layout
from trainer.preparation.splitting import SPLITS
from wukong_tf.errors import ConfigError, DataError

ENDINGS = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "parquet": (".parquet",),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that was found.

    Args:
        name: as --dataset names it.
        recipe: what is made of its rows.
        files: its files.
        rule: how rows are divided.
        min_count: the published one.
        vectors: by vector column, the file of its vectors.
    """

    name: str
    recipe: Recipe
    files: tuple[InputFile, ...]
    rule: str
    min_count: int
    vectors: dict[str, str]


def find(values) -> Source:
    """Returns the data set that the flags name.

    Raises:
        DataError: its files are not there.
        ConfigError: a flag contradicts another.
    """
    folder = values.input
    if values.dataset in datasets.GENERIC:
        return _generic(values, folder)
    for name in ("recipe", "label", "separator"):
        if values[name].present:
            raise ConfigError(
                f"--{name} contradicts --dataset={values.dataset}; it belongs "
                f"to --dataset={' or '.join(datasets.GENERIC)}."
            )
    known = datasets.dataset(values.dataset, values.integer_rule)
    form, files = known.find(folder)
    for file in files:
        if not shards.has_rows(file):
            split = "" if file.split == "all" else f"{file.split} "
            raise DataError(f"{file.path}: there are no {split}rows.")
    recipe, vectors = form.recipe, {}
    for column, name in SIDE_FILES.get(known.name, {}).items():
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            vectors[column] = path
            continue
        print(f"{path} is not there: no feature {column!r}")
        left = tuple(c for c in recipe.columns if c.name != column)
        recipe = dataclasses.replace(recipe, columns=left)
    return Source(
        known.name, recipe, tuple(files), form.rule, known.min_count, vectors
    )


def _generic(values, folder):
    files = _listed(values.dataset, folder)
    if not any(file.split == "train" for file in files):
        raise DataError(
            f"--input={folder}: there is no train file; looked for "
            f"{', '.join(f'train*{e}' for e in ENDINGS[values.dataset])}."
        )
    files = _with_rows(files)
    if not any(file.split == "train" for file in files):
        raise DataError(f"--input={folder}: there are no train rows.")
    # Without valid rows, each 20th train row is one.
    rule = "files" if any(f.split == "valid" for f in files) else "every"
    if values.recipe:
        try:
            with open(values.recipe, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--recipe={values.recipe}: {error}.") from error
        recipe = Recipe.from_json(text, values.recipe)
    else:
        recipe = _inferred(values, files)
    return Source(values.dataset, recipe, tuple(files), rule, 1, {})


def _listed(dataset, folder):
    """The files of a log, those of each split by name."""
    if not os.path.isdir(folder):
        raise DataError(f"--input={folder}: there is no such directory.")
    files: list[InputFile] = []
    for split in SPLITS:
        for ending in ENDINGS[dataset]:
            pattern = os.path.join(glob.escape(folder), f"{split}*{ending}")
            for path in sorted(glob.glob(pattern)):
                layout = None
                if dataset == "csv":
                    layout = Layout("\t" if ".tsv" in ending else ",")
                files.append(InputFile(path, split, layout))
    paths = [file.path for file in files]
    for path in paths:
        if f"{path}.gz" in paths:
            raise DataError(
                f"{path}: stands there compressed too, and its rows would "
                "count twice; remove one of both."
            )
    return files


def _with_rows(files):
    """The files that hold rows; the others, as empty parts, are printed."""
    found = []
    for file in files:
        if shards.has_rows(file):
            found.append(file)
        else:
            print(f"{file.path}: there are no rows; it is left out")
    return found


def _inferred(values, files):
    for file in files:
        first = shards.plan([file], 2**24)[0]
        names = first.names
        if names is None:
            import pyarrow.parquet as pq

            names = pq.read_schema(first.path).names
        rows = next(shards.read(first, names), None)
        if rows is not None and rows.num_rows:
            return inference.infer(
                rows.drop_columns("_place"),
                label=values.label,
                separator=values.separator,
                where=first.path,
            )
    raise DataError(f"--input={values.input}: there are no rows.")
