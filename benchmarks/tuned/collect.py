"""Collects a study and the runs of its choices: one table, one JSON file.

python -m benchmarks.tuned.collect STUDY FILE [RUNS]

STUDY is the --output of `trainer.tune`, RUNS a pattern that matches the
directories of runs with its flagfiles and other seeds, by default
STUDY/runs/*, as the tuner proposes. FILE gets all trials and runs, and keeps
what it says of their origin: "about", the "commit" on which the study began,
its "command" and "hardware". Its table is printed, as it stands in
docs/results.md.
"""

import glob
import math
import os
import statistics
import sys
from typing import Any

from absl import app

from trainer.checkpoints import run_directory
from trainer.tuning import study
from wukong_tf import files, runs
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError, WukongError

ORIGIN = ("about", "commit", "command", "hardware")
SPLITS = ("train", "valid", "test")
METRICS = ("auc", "logloss", "attained_share")
COSTS = ("table_parameters", "dense_parameters", "training_flop")
HEAD = "| model | valid | AUC | LogLoss | {}MFLOP | in tables | dense | s |"


def collected(folder: str, pattern: str) -> dict[str, Any]:
    """Returns the content of a file of results.

    Args:
        folder: output directory of `trainer.tune`.
        pattern: glob of the run directories.

    Raises:
        ConfigError: a file is not JSON of the tuner or the trainer.
        RunError: a model has no choice or no run, or a run is not one of its
            choice with a seed of its own.
    """
    path = os.path.join(folder, "trials.json")
    content = schema.read_json(path)
    try:
        plan, models = content["plan"], content["models"]
        task, order = plan["task"], list(models)
        for model in models.values():
            for trial in model["trials"]:
                del trial["evaluations"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not a table of trials.") from error
    given = {
        flag: text.partition("=")[2]
        for flag, text in plan["flags"].items()
        if "=" in text
    }
    folders = [
        folder
        for folder in sorted(glob.glob(pattern))
        if os.path.exists(os.path.join(folder, runs.CONFIG))
    ]
    reports = {folder: _read(folder, task) for folder in folders}
    for folder, report in reports.items():
        _check_data(folder, plan["data"])
        if report["run"]["seed"] == plan["seed"]:
            raise RunError(
                f"{folder}: its seed must not be {plan['seed']}, that of the "
                "trials."
            )
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
        _check(name, given | chosen, reports, pattern)
    results = [report["run"] for report in reports.values()]
    results.sort(key=lambda run: (order.index(run["model"]), run["seed"]))
    return {**content, "runs": results}


def _check_data(folder, data):
    """Checks that a run was trained on the files of the study."""
    recorded = run_directory.read_data(folder)
    for split, known in data.items():
        digests = [entry["sha256"] for entry in recorded.get(split, ())]
        if not digests or None in digests:
            continue  # not of files, or a run that ended before it knew
        if study.digest_of(digests) != known["sha256"]:
            raise RunError(
                f"{folder}: its {split} files are not those of the study."
            )


def _read(folder: str, task: str) -> dict[str, Any]:
    """Returns the name, settings and results of a run."""
    path = os.path.join(folder, "report", "metrics.json")
    report = schema.read_json(path)
    rows = schema.read_json(os.path.join(folder, runs.CONFIG))["data"]
    try:
        name, seed = report["model"]["name"], report["training"].pop("seed")
        settings = report["model"] | report["training"]
        settings |= rows.get("interactions", {})
        settings |= {f"synthetic_{s}_rows": rows.get(s) for s in SPLITS}
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
        raise ConfigError(f"{path}: is not a report: {error}.") from error
    return {"name": name, "settings": settings, "run": run}


def _check(name, flags, reports, pattern):
    """Checks that the runs of a model have the study's flags and its choice."""
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
        expected = first | {f: v for f, v in flags.items() if f in first}
        for flag, value in expected.items():
            if not _equal(settings.get(flag), value):
                raise RunError(
                    f"{path}: --{flag} must be {_text(value)}, as in the study "
                    f"and the other runs of {name}; received "
                    f"{_text(settings.get(flag))}."
                )


def _equal(first, second) -> bool:
    """Returns whether two settings are the same, such as 0 and 0.0."""
    texts = [_text(value).split(",") for value in (first, second)]
    return len(texts[0]) == len(texts[1]) and all(
        a == b or _number(a) == _number(b) for a, b in zip(*texts, strict=True)
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.lower()  # of true and false


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
            if metric != "attained_share" or share:
                cells.append("" if None in values else spread(values, digits))
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
        if (value := run["test"].get(metric)) is not None:
            values.setdefault(run["model"], []).append(value)
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
        if name != first and first in values
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
    folder, output = argv[1:3]
    runs_of = os.path.join(glob.escape(folder), "runs", "*")
    pattern = argv[3] if argv[3:] else runs_of
    origin = dict.fromkeys(ORIGIN, "")
    try:
        if os.path.exists(output):
            known = schema.read_json(output)
            origin |= {key: known[key] for key in ORIGIN if key in known}
        results = collected(folder, pattern)
    except WukongError as error:
        sys.exit(f"error: {error}")
    lines = table(results)
    files.write_json(output, origin | results)
    print("\n".join(lines))
    first = next(iter(results["models"]))
    for metric in ("auc", "logloss"):
        for name, (mean, deviation) in differences(
            results, metric, first
        ).items():
            print(f"{metric} {name}: {mean:+.4f} ± {deviation:.4f}")


if __name__ == "__main__":
    app.run(main)
