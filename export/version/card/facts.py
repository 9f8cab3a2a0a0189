"""Facts of a run that its card states, as its own files record them."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from trainer.preparation.datasets import GENERIC
from wukong_tf import runs

_REPORT = os.path.join("report", "metrics.json")
_EVALUATIONS = "metrics.jsonl"
_PREPARED = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Data:
    """The rows of a run, as far as its files record them.

    Args:
        name: name of the data set, or None.
        rows: number of rows by split.
        files: names of the files by split, without their directories.
        inputs: names of the raw files that these were prepared from.
        split_rule: how preparation divided them, or None.
        synthetic: description of the synthetic log, or None for files.
    """

    name: str | None = None
    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    files: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    split_rule: str | None = None
    synthetic: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Results:
    """Metrics of the exported checkpoint on a held-out split.

    Args:
        split: "test" or "valid".
        tasks: metrics by task; None is undefined.
        exact: whether AUC was computed by sorting, not from bins.
        sliced: features by whose values the rows were evaluated too.
    """

    split: str
    tasks: Mapping[str, Mapping[str, Any]]
    exact: bool
    sliced: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the files of a run record of it.

    Args:
        data: its rows.
        results: metrics of the checkpoint, or None if there are none.
        training: settings of the training by name.
        state: the trainer's state in the checkpoint.
    """

    data: Data
    results: Results | None
    training: Mapping[str, Any]
    state: Mapping[str, Any]


def read(run_dir: str, checkpoint: runs.Checkpoint, tasks, cut: bool) -> Facts:
    """Reads the facts of a run; what its files lack is left out.

    Args:
        run_dir: the run directory.
        checkpoint: the exported checkpoint.
        tasks: names of the tasks.
        cut: whether units were removed from the model, so that its metrics
            are not those of the checkpoint.
    """
    config = runs.read_config(run_dir)
    results = None if cut else _results(run_dir, checkpoint.step, tasks)
    return Facts(
        _data(run_dir, _dict(config.get("data"))),
        results,
        _dict(config.get("training")),
        _dict(checkpoint.state),
    )


def _results(run_dir, step, tasks):
    """Returns the metrics of the checkpoint of a step, test rows first."""
    report = _read(run_dir, _REPORT)
    if _dict(report.get("run")).get("checkpoint_step") == step:
        slices = _dict(report.get("slices"))
        for split in ("test", "valid"):
            if metrics := _of_tasks(report.get(split), tasks):
                sliced = split == slices.get("split")
                features = _dict(slices.get("features")) if sliced else {}
                return Results(split, metrics, True, tuple(features))
    for record in reversed(_records(os.path.join(run_dir, _EVALUATIONS))):
        if record.get("kind") == "valid" and record.get("step") == step:
            if metrics := _of_tasks(record, tasks):
                return Results("valid", metrics, False)
    return None


def _of_tasks(values, tasks):
    metrics = {task: _dict(_dict(values).get(task)) for task in tasks}
    return {task: found for task, found in metrics.items() if found}


def _data(run_dir, config):
    rows = {
        split: config[split]
        for split in ("train", "valid", "test")
        if isinstance(config.get(split), int)
    }
    held_out = _read(run_dir, runs.HELD_OUT)
    if synthetic := _dict(held_out.get("synthetic")):
        kind = "interaction" if "interactions" in synthetic else "click"
        return Data(f"synthetic {kind} log", rows, synthetic=synthetic)
    records = _dict(_read(run_dir, runs.DATA).get("files"))
    digests = {
        split: {
            str(entry.get("file")): entry.get("sha256")
            for entry in map(_dict, entries)
        }
        for split, entries in records.items()
        if isinstance(entries, list)
    }
    files = {split: list(entries) for split, entries in digests.items()}
    if not files and isinstance(held_out.get("files"), list):
        paths = map(str, held_out["files"])
        split = str(held_out.get("split"))
        files = {split: [os.path.basename(path) for path in paths]}
    folder = _read(run_dir, runs.PREPARATION).get("data")
    if not isinstance(folder, str):
        return Data(None, rows, files)
    name = os.path.basename(os.path.normpath(folder))
    prepared = _read(folder, _PREPARED)
    if not _same(prepared, digests):
        return Data(name, rows, files)
    if prepared.get("dataset") not in (None, *GENERIC):
        name = str(prepared["dataset"])
    inputs = tuple(
        str(_dict(entry).get("file")) for entry in _list(prepared, "inputs")
    )
    rule = prepared.get("split_rule")
    return Data(name, rows, files, inputs, rule and str(rule))


def _same(prepared, digests):
    """Returns whether a preparation's manifest is that of a run's files."""
    known = {
        _dict(entry).get("file"): _dict(entry).get("sha256")
        for entry in _list(prepared, "files")
    }
    pairs = [
        (known.get(name), digest)
        for entries in digests.values()
        for name, digest in entries.items()
        if digest
    ]
    return bool(pairs) and all(ours == theirs for ours, theirs in pairs)


def _records(path):
    """Returns the records of a file of JSON lines, {} for invalid ones."""
    try:
        with open(path, encoding="utf-8") as file:
            return [_parsed(line) for line in file]
    except (OSError, UnicodeDecodeError):
        return []


def _read(folder, name):
    """Returns the JSON object in a file, or {} if there is none."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return _parsed(file.read())
    except (OSError, UnicodeDecodeError):
        return {}


def _parsed(line):
    try:
        return _dict(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def _dict(value):
    return value if isinstance(value, dict) else {}


def _list(content, key):
    value = content.get(key)
    return value if isinstance(value, list) else []
