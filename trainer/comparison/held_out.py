"""Opens runs, and the rows that all of them held out."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from trainer.checkpoints import run_directory
from trainer.data import held_out
from trainer.data.content import Contents
from trainer.data.source import Source
from trainer.report.figures import names_of
from wukong_tf import runs
from wukong_tf.config import FeatureSpec, schema
from wukong_tf.errors import ConfigError, RunError


@dataclasses.dataclass(frozen=True)
class Run:
    """A run to compare.

    Args:
        path: the run directory.
        name: a name that no other of the runs has.
        config: config.json's content.
        spec: the features.
        split: name of the held-out split.
        rows: identity of its rows: the parameters of a synthetic log, or a
            record of each file.
        trained_on: outlines of the files that it was trained on; () if they
            are not recorded.
        init: the run and step that gave its initial weights, as its
            checkpoint records them. Defaults to None, none or not recorded.
    """

    path: str
    name: str
    config: dict[str, Any]
    spec: FeatureSpec
    split: str
    rows: dict[str, Any] | list[dict[str, Any]]
    trained_on: Sequence[str] = ()
    init: dict[str, Any] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the weights and of the order of the rows."""
        return self.config.get("training", {}).get("seed")

    @property
    def without_seed(self) -> dict[str, Any]:
        """All that determines the run but its seed, as JSON values."""
        training = dict(self.config.get("training", {}), seed=None)
        content = {**self.config, "training": training, "run": None}
        content["features"] = self.spec.to_dict()
        content["train files"] = list(self.trained_on)
        content["init"] = self.init
        return content

    def open(self) -> Source:
        """Opens the held-out rows.

        Raises:
            DataError: a file is missing, or is not the one of the run.
        """
        path = os.path.join(self.path, runs.HELD_OUT)
        source = held_out.reopen(path, self.spec)
        if isinstance(self.rows, list) and self.rows[0]["outline"]:
            Contents({self.split: source}).expect({self.split: self.rows})
        return source


def open_runs(paths: Sequence[str]) -> list[Run]:
    """Opens runs that held out the same rows.

    Args:
        paths: run directories.

    Raises:
        RunError: a directory holds no run, or a run cannot be compared with
            the first; the message names it.
    """
    opened = [_open(path, name) for path, name in names_of(paths).items()]
    first = opened[0]
    for run in opened[1:]:
        if reason := _difference(run, first):
            raise RunError(
                f"{run.path} cannot be compared with {first.path}: {reason}. "
                "Runs are compared on the same held-out rows."
            )
    return opened


def _open(path, name) -> Run:
    config, spec = runs.read_config(path), runs.read_features(path)
    file = os.path.join(path, runs.HELD_OUT)
    try:
        content = schema.read_json(file)
        split = content["split"]
        data = run_directory.read_data(path)
        rows = content.get("synthetic")
        if rows is None:
            names = map(os.path.abspath, content["files"])
            rows = data.get(split) or [
                {"file": name, "outline": None, "sha256": None}
                for name in names
            ]
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{file}: is not a valid record of held-out rows: {error}."
        ) from error
    trained_on = [entry["outline"] for entry in data.get("train", ())]
    init = runs.find_checkpoint(path).state.get("init")
    return Run(path, name, config, spec, split, rows, trained_on, init)


def _difference(run: Run, first: Run) -> str:
    """Returns how the held-out rows of two runs differ, "" if they do not."""
    if run.split != first.split:
        return f"it held out the {run.split} split, not the {first.split} split"
    if isinstance(run.rows, dict) or isinstance(first.rows, dict):
        if run.rows != first.rows:
            return (
                f"its {run.split} rows are {_described(run.rows)}, not "
                f"{_described(first.rows)}"
            )
    elif len(run.rows) != len(first.rows):
        return (
            f"its {run.split} rows are in {len(run.rows)} files, not "
            f"{len(first.rows)}"
        )
    else:
        for mine, other in zip(run.rows, first.rows, strict=True):
            for key in ("outline", "sha256"):
                known = (mine[key], other[key])
                if None not in known and mine[key] != other[key]:
                    return (
                        f"the content of {mine['file']} of its {run.split} "
                        f"rows is not that of {other['file']}"
                    )
    if run.spec.tasks != first.spec.tasks:
        tasks = [[task.name for task in r.spec.tasks] for r in (run, first)]
        return f"its tasks are {tasks[0]}, not {tasks[1]}, or defined otherwise"
    for role in ("weight", "group"):
        columns = [getattr(each.spec, role) for each in (run, first)]
        if columns[0] != columns[1]:
            return f"its {role} column is {columns[0]!r}, not {columns[1]!r}"
    return ""


def _described(rows) -> str:
    if not isinstance(rows, dict):
        return f"in {len(rows)} files"
    return "synthetic, " + ", ".join(f"{k} {v}" for k, v in rows.items())
