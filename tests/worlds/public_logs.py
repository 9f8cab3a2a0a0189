"""Small files in the published forms of public data sets.

Their rows are drawn at random: nobody logged them.
"""

from pathlib import Path

import h5py
import numpy as np

from trainer.preparation import datasets
from trainer.preparation.columns import Column
from trainer.preparation.forms import Form

ROWS = 240
DAYS = 3


def write(name: str, folder: Path) -> Path:
    """Writes the files of a data set that `trainer.prepare` knows.

    Args:
        name: the data set's name.
        folder: made if it is absent.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(5)
    forms = datasets.dataset(name).forms
    # Files with a header that are split already, if it is published so.
    form = min(forms, key=lambda f: (f.rule == "folds", bool(f.layout.names)))
    for first, *_ in form.files.values():
        for number in range(DAYS if "{}" in first else 1):
            rows = [_row(form, draw) for _ in range(ROWS)]
            _write(folder / first.format(number), form, rows)
    for column in form.recipe.columns:
        if column.key is not None:
            side = datasets.SIDE_FILES[name][column.name]
            with h5py.File(folder / side, "w") as file:
                file["key"] = np.arange(6)
                file["value"] = draw.normal(size=(6, column.size))
    return folder


def _row(form: Form, draw) -> dict[str, str]:
    """Draws a row: fields by the names of its columns."""
    row = {form.recipe.label: str(draw.integers(2))}
    for column in form.recipe.columns:
        if column.key is None:
            row[column.source or column.name] = _field(column, draw)
    return row


def _field(column: Column, draw) -> str:
    if column.rule in ("hour", "weekday", "weekend"):
        return f"141021{draw.integers(24):02}"
    if column.is_bag:
        values = draw.integers(0, 6, draw.integers(5))
        return (column.separator or "").join(map(str, values))
    return str(draw.integers(6))


def _write(path: Path, form: Form, rows) -> None:
    layout = form.layout
    names = layout.names or tuple(rows[0])
    lines = [] if layout.names else [layout.delimiter.join(names)]
    lines += [layout.delimiter.join(row[n] for n in names) for row in rows]
    path.write_text("\n".join(lines) + "\n")
