"""Scores runs on the same rows, and writes their comparison."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.comparison.figures import figures_of
from trainer.comparison.held_out import Run, open_runs
from trainer.comparison.page import build
from trainer.distribution.strategies import one_device
from trainer.loop.evaluator import Scores
from trainer.modes.scoring import make_evaluator
from trainer.process.console import log
from trainer.report.files import plain
from trainer.settings import Data, Settings, Training
from trainer.settings import Run as RunSettings
from trainer.settings.compare import Compare
from wukong_tf import files
from wukong_tf.errors import DataError, RunError


def compare(paths: Sequence[str], settings: Compare) -> dict[str, Any]:
    """Writes index.html and comparison.json; returns the latter's content.

    Raises:
        ConfigError, DataError, RunError: a run cannot be read or scored, or
            its rows are not those of the first.
    """
    runs = open_runs(paths)
    if len(runs) < 2:
        raise RunError(f"{paths[0]}: was given twice; two runs are required.")
    scored: list[Mapping[str, Scores]] = []
    for run in runs:
        scored.append(_scores(run, settings))
        _check_same(run, scored[-1], runs[0], scored[0])
    result = plain(figures_of(runs, scored, settings))
    os.makedirs(settings.output, exist_ok=True)
    path = os.path.join(settings.output, "comparison.json")
    files.write_json(path, result)
    page = os.path.join(settings.output, "index.html")
    files.write_text(page, build(result))
    log(f"wrote {page}")
    return result


def _scores(run: Run, settings: Compare) -> Mapping[str, Scores]:
    """Returns the scores of the held-out rows by task."""
    source = run.open()
    log(f"{run.name}: scoring {source.num_rows:,} {run.split} rows")
    evaluator = make_evaluator(
        Settings(
            run=RunSettings(mode="eval", run_dir=run.path),
            data=Data(eval_negative_rate=settings.eval_negative_rate),
            # Runs with either lookup; the scores are the same.
            training=Training(
                lookup="take", eval_batch_size=settings.eval_batch_size
            ),
        ),
        one_device(),
    )
    _, scores = evaluator.evaluate(source, exact=True)
    for task, rows in scores.items():
        if not np.isfinite(rows.logits).all():
            raise RunError(
                f"{run.path}: scores of task {task!r} are not finite."
            )
        if not 0 < rows.labels.sum() < len(rows.labels):
            raise DataError(
                f"{run.path}: the {run.split} rows of task {task!r} all have "
                "the same label; both classes are required."
            )
    return scores


def _check_same(run, scores, first, others):
    """Raises DataError unless the rows read are those of the first run."""
    for task, rows in scores.items():
        for name in ("labels", "weights", "groups"):
            mine, other = getattr(rows, name), getattr(others[task], name)
            if (mine is None) != (other is None) or (
                mine is not None and not np.array_equal(mine, other)
            ):
                raise DataError(
                    f"{run.path} cannot be compared with {first.path}: the "
                    f"{name} of task {task!r} in its {run.split} rows differ."
                )
