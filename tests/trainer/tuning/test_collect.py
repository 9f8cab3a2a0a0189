"""`benchmarks.tuned.collect` takes only runs of a study's choices."""

import json
import sys

import pytest

from benchmarks.tuned import collect
from trainer.tuning import study

BATCH = "--batch_size=8.0"  # the same number as 8
TRIAL = {"trial": 0, "state": "complete", "value": 0.3, "evaluations": [0.3]}


def report(model, seed, rate=0.1, task="click", auc=0.7):
    cost = {"table_parameters": 1, "dense_parameters": 2, "training_flop": 3}
    return {
        "model": {"name": model, "head_units": [4, 2]},
        "training": {"seed": seed, "learning_rate": rate, "batch_size": 8},
        "run": {"rows": 9, "seconds": 1.0},
        "cost": cost,
        "test": {task: {"auc": auc, "logloss": 0.2}},
    }


def collected(folder, runs, models=("mlp", "fm"), best=0):
    """Returns the printed lines, of runs by the name of their folder."""
    flags = {"learning_rate": 0.1, "head_units": "4,2"}
    model = {"best": best, "trials": [{**TRIAL, "flags": flags}]}
    trials = {
        "format": 1,
        "plan": {
            "task": "click",
            "metric": "logloss",
            "seed": 0,
            "flags": {"synthetic": "--synthetic", "batch_size": BATCH},
            "data": {"train": {"files": 2, "sha256": study.digest_of("ab")}},
        },
        "models": dict.fromkeys(models, model),
    }
    folder.joinpath("trials.json").write_text(json.dumps(trials))
    for name, content in runs.items():
        path = folder / "runs" / name / "report" / "metrics.json"
        path.parent.mkdir(parents=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text)
        data = content.pop("data", "") if isinstance(content, dict) else ""
        entries = [{"file": "a", "outline": "b", "sha256": s} for s in data]
        for file, value in {
            "config.json": {"data": {"train": 9}},
            "data.json": {"format": 1, "files": {"train": entries}},
        }.items():
            (folder / "runs" / name / file).write_text(json.dumps(value))
    collect.main(["collect", str(folder), str(folder / "results.json")])


def test_means_and_differences_are_printed(tmp_path, capsys):
    runs = {
        f"{model}-{seed}": report(model, seed, auc=0.6 + 0.1 * seed)
        for model, seed in (("mlp", 1), ("mlp", 2), ("fm", 1))
    }
    collected(tmp_path, runs)
    lines = capsys.readouterr().out
    assert "| `mlp` | 0.3000 | 0.7500 ± 0.0707 |" in lines
    assert "| `fm` | 0.3000 | 0.7000 |" in lines  # one run has no deviation
    assert "auc fm: +0.0500 ± nan" in lines
    content = json.loads((tmp_path / "results.json").read_text())
    assert [run["seed"] for run in content["runs"]] == [1, 2, 1]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({}, "no run of mlp has a report"),
        ({"a": report("dlrm", 1)}, "one of the study"),
        ({"a": report("mlp", 1, task="buy")}, "no test rows of task 'click'"),
        ({"a": report("mlp", 1, rate=0.2)}, "--learning_rate must be 0.1"),
        ({"a": report("mlp", 1), "b": report("mlp", 1)}, "seed 1 of mlp is"),
        ({"a": report("mlp", 0)}, "its seed must not be 0"),
        ({"a": {**report("mlp", 1), "data": "ac"}}, "train files are not"),
        ({"a": {**report("mlp", 1), "data": "ab"}}, "no run of fm"),
        ({"a": "{"}, "metrics.json: "),
        ({"a": {"model": {}}}, "is not a report"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_runs_are_refused_and_results_kept(tmp_path, run, message):
    (tmp_path / "results.json").write_text('{"about": "before"}')
    with pytest.raises(SystemExit, match=message):
        collected(tmp_path, run)
    assert "before" in (tmp_path / "results.json").read_text()


def test_a_model_without_a_choice_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no trial of mlp is complete"):
        collected(tmp_path, {"a": report("mlp", 1)}, ("mlp",), best=None)


def test_a_study_that_is_missing_is_named(tmp_path):
    with pytest.raises(SystemExit, match=r"trials\.json: cannot be read"):
        collect.main(["collect", str(tmp_path / "no"), sys.argv[0] + "x"])
