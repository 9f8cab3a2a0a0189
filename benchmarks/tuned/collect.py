"""Collects a study and the runs of its choices: one table, one JSON file.

python -m benchmarks.tuned.collect STUDY FILE [RUNS]

STUDY is the --output of `trainer.tune`, RUNS a pattern that matches the
directories of runs with its flagfiles and other seeds, by default
STUDY/runs/*, as the tuner proposes. FILE gets all trials and runs, and keeps
what it says about itself; its table is printed, as it stands in
docs/results.md.
"""

import glob
import math
import os
import statistics
import sys
from typing import Any

from absl import app

from wukong_tf import files
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError, WukongError

METRICS = ("auc", "logloss", "attained_share")
COSTS = ("table_parameters", "dense_parameters", "training_flop")
HEAD = "| model | valid | AUC | LogLoss | {}MFLOP | in tables | dense | s |"


def collected(study: str, pattern: str) -> dict[str, Any]:
    """Returns the content of a file of results.

    Args:
        study: output directory of `trainer.tune`.
        pattern: glob of the run directories.

    Raises:
        ConfigError: a file is not JSON of the tuner or the trainer.
        RunError: a model has no choice or no run, or a run is not one of its
            choice with a seed of its own.
    """
    path = os.path.join(study, "trials.json")
    content = schema.read_json(path)
    try:
        plan, models = content["plan"], content["models"]
        task, order = plan["task"], list(models)
        for model in models.values():
            for trial in model["trials"]:
                del trial["evaluations"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not a table of trials.") from error
    reports = {
        path: _read(path, task)
        for path in glob.glob(os.path.join(pattern, "report", "metrics.json"))
    }
    for report_path, report in reports.items():
        if report["name"] not in order:
            raise RunError(
                f"{report_path}: the model must be one of the study's "
                f"{order}; received {report['name']}."
            )
    for name, model in models.items():
        if model["best"] is None:
            raise RunError(f"{path}: no trial of {name} is complete.")
        chosen = model["trials"][model["best"]]["flags"]
        _check(name, chosen, reports, pattern)
    runs = [report["run"] for report in reports.values()]
    runs.sort(key=lambda run: (order.index(run["model"]), run["seed"]))
    return {**content, "runs": runs}


def _read(path: str, task: str) -> dict[str, Any]:
    """Returns the name, settings and results of a run."""
    report = schema.read_json(path)
    try:
        name, seed = report["model"]["name"], report["training"].pop("seed")
        settings = report["model"] | report["training"]
        if task not in (report.get("test") or {}):
            raise RunError(f"{path}: has no test rows of task {task!r}.")
        test = report["test"][task]
        run = {
            "model": name,
            "seed": seed,
            "rows": report["run"]["rows"],
            "seconds": report["run"]["seconds"],
            **{cost: report["cost"][cost] for cost in COSTS},
            "test": {m: test[m] for m in METRICS if m in test},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is not a report.") from error
    return {"name": name, "settings": settings, "run": run}


def _check(name, chosen, reports, pattern):
    """Checks that the runs of a model are its choice, with other seeds."""
    own = {p: r for p, r in reports.items() if r["name"] == name}
    if not own:
        raise RunError(f"{pattern}: no run of {name} has a report.")
    seeds: dict[int, str] = {}
    first = next(iter(own.values()))["settings"]
    for path, report in own.items():
        settings, seed = report["settings"], report["run"]["seed"]
        if seed in seeds:
            raise RunError(
                f"{path}: seed {seed} of {name} is also that of {seeds[seed]}."
            )
        seeds[seed] = path
        expected = first | {f: v for f, v in chosen.items() if f in first}
        for flag, value in expected.items():
            if _text(settings.get(flag)) != _text(value):
                raise RunError(
                    f"{path}: --{flag} must be {_text(value)}, as in the best "
                    f"trial or the other runs of {name}; received "
                    f"{_text(settings.get(flag))}."
                )


def _text(value) -> str:
    """Returns a setting as on the command line."""
    values = value if isinstance(value, list) else [value]
    return ",".join(map(str, values))


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

    The error is NaN for a model with one run.

    Args:
        results: content of a file of results.
        metric: "auc", "logloss" or "attained_share".
        first: name of the model that others are compared with.
    """
    values: dict[str, list[float]] = {}
    for run in results["runs"]:
        values.setdefault(run["model"], []).append(run["test"][metric])
    errors = {
        name: statistics.variance(each) / len(each) if each[1:] else math.nan
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
    """Returns "mean ± standard deviation", or the only value."""
    text = f"{statistics.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.{digits}f}"
    return text


def main(argv: list[str]):
    """Writes the file and prints the table."""
    if len(argv) not in (3, 4):
        raise app.UsageError("two or three arguments are required.")
    study, output = argv[1:3]
    pattern = argv[3] if argv[3:] else os.path.join(study, "runs", "*")
    about = ""
    try:
        if os.path.exists(output):
            about = schema.read_json(output).get("about", "")
        results = collected(study, pattern)
    except WukongError as error:
        sys.exit(f"error: {error}")
    lines = table(results)
    files.write_json(output, {"about": about, **results})
    print("\n".join(lines))
    first = next(iter(results["models"]))
    for metric in ("auc", "logloss"):
        for name, (mean, spreads) in differences(
            results, metric, first
        ).items():
            print(f"{metric} {name}: {mean:+.4f} ± {spreads:.4f}")


if __name__ == "__main__":
    app.run(main)
