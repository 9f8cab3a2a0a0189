"""Collects a study and the runs of its choices: one table, one JSON file.

python -m benchmarks.tuned.collect STUDY FILE [RUNS]

STUDY is the --output of `trainer.tune`, RUNS a pattern that matches the
directories of runs with its flagfiles and other seeds, by default
STUDY/runs/*, as the tuner proposes. FILE gets all trials and runs, and keeps
what it says about itself; its table is printed, as it stands in
docs/results.md.
"""

import glob
import json
import math
import os
import statistics
from typing import Any

from absl import app

from wukong_tf import files

METRICS = ("auc", "logloss", "attained_share")
COSTS = ("table_parameters", "dense_parameters", "training_flop")
HEAD = "| model | valid | AUC | LogLoss | {}MFLOP | in tables | dense | s |"


def collected(study: str, pattern: str) -> dict[str, Any]:
    """Returns the content of a file of results.

    Args:
        study: output directory of `trainer.tune`.
        pattern: glob of the run directories.
    """
    with open(os.path.join(study, "trials.json"), encoding="utf-8") as file:
        content = json.load(file)
    for model in content["models"].values():
        for trial in model["trials"]:
            del trial["evaluations"]
    paths = glob.glob(os.path.join(pattern, "report", "metrics.json"))
    runs = [_run(path) for path in paths]
    order = [*content["models"]]
    runs.sort(key=lambda run: (order.index(run["model"]), run["seed"]))
    return {**content, "runs": runs}


def _run(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    (test,) = report["test"].values()
    return {
        "model": report["model"]["name"],
        "seed": report["training"]["seed"],
        "rows": report["run"]["rows"],
        "seconds": report["run"]["seconds"],
        **{name: report["cost"][name] for name in COSTS},
        "test": {name: test[name] for name in METRICS if name in test},
    }


def table(results: dict[str, Any]) -> list[str]:
    """Returns the lines of the table: best trial, and means over seeds.

    Args:
        results: content of a file of results.
    """
    share = "attained_share" in results["runs"][0]["test"]
    head = HEAD.format("attained share | " if share else "")
    lines = [head, "|---|" + "---:|" * (head.count("|") - 2)]
    for name, model in results["models"].items():
        runs = [run for run in results["runs"] if run["model"] == name]
        best = model["trials"][model["best"]]["value"]
        cells = [f"`{name}`", f"{best:.4f}"]
        for metric, digits in zip(METRICS, (4, 4, 3), strict=True):
            values = [run["test"].get(metric) for run in runs]
            if None not in values:
                cells.append(spread(values, digits))
        first = runs[0]
        cells += [
            f"{first['training_flop'] / 1e6:.2f}",
            f"{first['table_parameters']:,}",
            f"{first['dense_parameters']:,}",
            f"{min(run['seconds'] for run in runs):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def differences(
    results: dict[str, Any], metric: str, first: str
) -> dict[str, tuple[float, float]]:
    """Returns how much others lack to the first, and its standard error.

    Args:
        results: content of a file of results.
        metric: "auc", "logloss" or "attained_share".
        first: name of the model that others are compared with.
    """
    values: dict[str, list[float]] = {}
    for run in results["runs"]:
        values.setdefault(run["model"], []).append(run["test"][metric])
    errors = {
        name: statistics.variance(each) / len(each)
        for name, each in values.items()
    }
    return {
        name: (
            statistics.mean(values[first]) - statistics.mean(each),
            math.sqrt(errors[first] + errors[name]),
        )
        for name, each in values.items()
        if name != first
    }


def spread(values: list[float], digits: int) -> str:
    """Returns "mean ± standard deviation"."""
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def main(argv: list[str]):
    """Writes the file and prints the table."""
    if len(argv) not in (3, 4):
        raise app.UsageError("two or three arguments are required.")
    study, output = argv[1:3]
    pattern = argv[3] if argv[3:] else os.path.join(study, "runs", "*")
    about = ""
    if os.path.exists(output):
        with open(output, encoding="utf-8") as file:
            about = json.load(file)["about"]
    results = collected(study, pattern)
    files.write_json(output, {"about": about, **results})
    print("\n".join(table(results)))
    first = next(iter(results["models"]))
    for metric in ("auc", "logloss"):
        for name, (mean, error) in differences(results, metric, first).items():
            print(f"{metric} {name}: {mean:+.4f} ± {error:.4f}")


if __name__ == "__main__":
    app.run(main)
