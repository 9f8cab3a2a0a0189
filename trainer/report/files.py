"""Writes the report of a run: metrics.json, plots and an HTML page."""

import json
import os
import urllib.parse
from typing import Any

import numpy as np

from trainer.report import (
    learning,
    markup,
    page,
    plots,
    reliability,
    style,
)
from trainer.report.curves import Predictions
from wukong_tf import files
from wukong_tf.errors import RunError
from wukong_tf.extras import lack
from wukong_tf.names import file_name

LONGEST = 100  # characters of a task's name in a file name

__all__ = ["DRAWS", "Predictions", "plain", "write_report"]

DRAWS = "matplotlib.figure"  # the module that plots need


def write_report(
    run_dir: str,
    metrics: dict,
    predictions: dict[str, dict[str, Predictions]],
    *,
    title: str,
    example: str = "",
    draw: bool = True,
) -> list[str]:
    """Replaces RUN_DIR/report/ atomically.

    metrics.json is always written; the plots and index.html only with
    `draw`, and if matplotlib can be imported, which a run reports when it
    starts.

    Args:
        run_dir: the run directory; its metrics.jsonl gives the learning
            curves.
        metrics: metrics by split and task, and the keys of `page.OTHERS`.
            Floats that are not finite are written as null.
        predictions: predictions by split and task. The plots show "test",
            or the first split if there is no "test".
        title: heading of the page.
        example: a Python program that scores rows. Defaults to "", none.
        draw: whether to write plots and index.html. Defaults to True.

    Returns:
        The paths of the files written.

    Raises:
        RunError: the report cannot be written in `run_dir`.
    """
    metrics = plain(metrics)
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    contents = {"metrics.json": text.encode()}
    try:
        if draw and lack(DRAWS) is None:
            contents |= _drawn(run_dir, metrics, predictions, title, example)
    finally:
        # Metrics are written even if a plot fails.
        paths = _publish(run_dir, contents)
    return paths


def plain(value: Any) -> Any:
    """Returns `value` in JSON's types; floats that are not finite are None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _drawn(run_dir, metrics, predictions, title, example):
    """Returns the page and its plots as bytes by file name."""
    splits = sorted(predictions, key=lambda split: split != "test")
    drawn = predictions[splits[0]] if splits else {}
    tasks = dict.fromkeys(
        task
        for values in [
            *(metrics[split] for split in page.splits_of(metrics)),
            drawn,
        ]
        for task in values
    )
    records = learning.read_log(os.path.join(run_dir, "metrics.jsonl"))
    best_step = (metrics.get("run") or {}).get("checkpoint_step")
    drawings: list[tuple[str | None, plots.Plot]] = []
    for task in tasks:
        drawings.append((task, learning.plot(records, task, best_step)))
        if task in drawn:
            rows = _of_rows(metrics, task, splits[0], drawn[task])
            drawings += [(task, drawing) for drawing in rows]
        important = metrics.get("importance") or {}
        if task in important.get("tasks", {}):
            drawings.append((task, plots.importance(important, task)))
    ranks = learning.ranks(records, best_step)
    if ranks is not None:
        drawings.append((None, ranks))
    contents, pictures = {}, []
    for task, drawing in drawings:
        light, dark = (
            plots.render(drawing, theme) for theme in (style.LIGHT, style.DARK)
        )
        suffix = "" if task is None else f"_{_file_name(task)}"
        contents[f"{drawing.name}{suffix}.png"] = light
        pictures.append(
            markup.Picture(task, drawing.title, drawing.caption, light, dark)
        )
    html = page.build(title, metrics, pictures, example)
    contents["index.html"] = html.encode()
    return contents


def _of_rows(metrics, task, split, rows):
    """Returns the plots of a task's predictions."""
    values = (metrics.get(split) or {}).get(task) or {}
    return [
        plots.roc(rows, task, split, values.get("auc")),
        plots.gain(rows, task, split),
        reliability.plot(rows, task, split),
        plots.histogram(rows, task, split),
    ]


def _file_name(task):
    """Returns a file name for a task, unique on case-insensitive disks."""
    quoted = urllib.parse.quote(task, safe="")
    fits = len(quoted) <= LONGEST and task == task.lower() and "~" not in task
    return quoted if fits else file_name(task)


def _publish(run_dir, contents):
    """Replaces RUN_DIR/report/ by `contents` atomically."""
    report = os.path.join(run_dir, "report")
    temporary = f"{report}{files.UNFINISHED}"
    try:
        files.restore_folder(report)
        files.remove(temporary)
        os.mkdir(temporary)
        for name, content in contents.items():
            with open(os.path.join(temporary, name), "wb") as file:
                file.write(content)
        files.replace_folder(temporary, report)
    except OSError as error:
        raise RunError(
            f"the report cannot be written to {report}: {error}."
        ) from error
    finally:
        files.remove(temporary)
    return [os.path.join(report, name) for name in contents]
