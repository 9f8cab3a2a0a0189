"""Logs in files: features.json, and one Parquet file for each split."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wukong_tf.config import FeatureSpec

ROWS = {"train": 1500, "valid": 400, "test": 500}


def as_table(columns: dict[str, np.ndarray]) -> pa.Table:
    """Returns columns as a table; a matrix becomes lists."""
    return pa.table(
        {
            name: pa.array(list(value) if value.ndim > 1 else value)
            for name, value in columns.items()
        }
    )


def write(
    path: Path | str, columns: dict[str, np.ndarray], group_rows: int = 256
):
    """Writes columns as a Parquet file."""
    pq.write_table(as_table(columns), path, row_group_size=group_rows)


def write_log(
    folder: Path | str,
    spec: FeatureSpec,
    table: Callable[[int, int], pa.Table],
    rows: dict[str, int] = ROWS,
    group_rows: int = 256,
) -> str:
    """Writes a log; returns `folder`.

    Args:
        folder: made if it is absent.
        spec: of the features.
        table: returns the rows of a split, given their number and a seed.
        rows: their number by split.
        group_rows: rows of a row group.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(spec.to_json(), encoding="utf-8")
    for seed, (split, count) in enumerate(rows.items()):
        path = folder / f"{split}.parquet"
        pq.write_table(table(count, seed), path, row_group_size=group_rows)
    return str(folder)
