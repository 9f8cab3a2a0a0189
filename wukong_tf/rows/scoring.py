"""Scores raw rows, as they were logged."""

from typing import Any

import numpy as np

from wukong_tf.errors import DataError
from wukong_tf.rows import columns, frames
from wukong_tf.rows.checks import checks_from_spec
from wukong_tf.rows.conversion import shown
from wukong_tf.rows.schemas import check_type

CHUNK_ROWS = 2**18  # rows whose ids are in memory at a time


def predict_rows(
    model: Any, rows: Any, batch_size: int = 4096
) -> dict[str, np.ndarray]:
    """Returns the probabilities of each task; see `ClickModel.predict_rows`.

    Args:
        model: a ClickModel.
        rows: rows as in `frames.table_from_rows`.
        batch_size: rows per computation. Defaults to 4,096.

    Raises:
        DataError: names row, column, rule and value.
    """
    if batch_size < 1:
        raise DataError(
            f"`batch_size` must be at least 1; received {batch_size}."
        )
    spec = model.config.features.as_requests()
    rules = checks_from_spec(spec, labels=False, served=True)
    lists = [check.name for check in rules if check.max_size or check.size]
    names = list(dict.fromkeys(check.name for check in rules))
    numbers = [check.name for check in rules if check.dtype is np.float32]
    numbers += [f.name for f in spec.categorical if f.raw == "float"]
    table = frames.table_from_rows(rows, names, lists, numbers)
    for check in rules:
        _check_type(rows, table.schema, check)
    parts: dict[str, list[np.ndarray]] = {
        task.name: [np.empty(0, np.float32)] for task in spec.tasks
    }
    for first in range(0, table.num_rows, CHUNK_ROWS):
        inputs = columns.read_table(
            frames.WHERE, first, table.slice(first, CHUNK_ROWS), spec, rules
        )
        logits = model.predict(inputs, batch_size=batch_size, verbose=0)
        for task, logit in model.served_logits(logits).items():
            parts[task].append(probabilities(np.asarray(logit)[:, 0]))
    return {task: np.concatenate(arrays) for task, arrays in parts.items()}


def _check_type(rows, schema, check):
    """Calls `check_type`; errors name the row if one value is invalid."""
    try:
        check_type(frames.WHERE, schema, check)
    except DataError as error:
        invalid = frames.invalid_row(rows, check.name, check.has_type)
        if invalid is None:
            raise
        row, value = invalid
        raise DataError(
            f"{frames.WHERE}: row {row} (from 0), column {check.name!r}: must "
            f"be {check.rule}; received {shown(value)}."
        ) from error


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits, float32, without overflow."""
    e = np.exp(-np.abs(logits.astype(np.float64)))
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)
