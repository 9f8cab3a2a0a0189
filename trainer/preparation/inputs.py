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
    if not os.path.isdir(folder):
        raise DataError(f"--input={folder}: there is no such directory.")
    files: list[InputFile] = []
    for split in SPLITS:
        for ending in ENDINGS[values.dataset]:
            for path in sorted(glob.glob(os.path.join(folder, f"{split}*"))):
                if path.endswith(ending):
                    delimiter = "\t" if ".tsv" in ending else ","
                    layout = None
                    if values.dataset == "csv":
                        layout = Layout(delimiter)
                    files.append(InputFile(path, split, layout))
    if not any(file.split == "train" for file in files):
        raise DataError(
            f"--input={folder}: there is no train file; looked for "
            f"{', '.join(f'train*{e}' for e in ENDINGS[values.dataset])}."
        )
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


def _inferred(values, files):
    (first, *_) = shards.plan(files[:1], 2**24)
    names = first.names
    if names is None:
        import pyarrow.parquet as pq

        names = pq.read_schema(first.path).names
    rows = next(shards.read(first, names), None)
    if rows is None or not rows.num_rows:
        raise DataError(f"{first.path}: there are no rows.")
    return inference.infer(
        rows.drop_columns("_place"),
        label=values.label,
        separator=values.separator,
        where=first.path,
    )
