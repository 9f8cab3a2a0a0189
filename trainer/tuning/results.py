"""Writes the results of a study: flagfiles, tables and plots."""

import datetime
import math
import os
import shlex
import textwrap
from typing import Any

from trainer.tuning import plots
from trainer.tuning.flags import flag_of, trial_flags
from trainer.tuning.model_study import ERROR, SECONDS, ModelStudy, state_of
from trainer.tuning.plan import Plan
from wukong_tf import files
from wukong_tf.extras import lack

FEWEST_TRIALS = 10  # complete ones, for importances
FINAL_SEEDS = 5
TABLES = ("trials.json", "trials.md")


def write_tables(plan: Plan, studies: list[ModelStudy]) -> dict[str, Any]:
    """Writes OUTPUT/trials.json and trials.md; returns the JSON's content."""
    content: dict[str, Any] = {
        "format": 1,
        "plan": plan.content(),
        "models": {study.model: _model(study) for study in studies},
    }
    paths = [os.path.join(plan.tune.output, name) for name in TABLES]
    files.write_json(paths[0], content)
    files.write_text(paths[1], markdown(plan, content["models"]))
    return content


def write_choice(
    plan: Plan, study: ModelStudy, model: dict[str, Any]
) -> list[str]:
    """Writes OUTPUT/MODEL.flags of the best trial, and the plot.

    Args:
        plan: the plan.
        study: a study that has a complete trial.
        model: its part of trials.json.

    Returns:
        The commands that train the flagfile with seeds that tuning did not
        use.
    """
    output, name = plan.tune.output, study.model
    path = os.path.join(output, f"{name}.flags")
    files.write_text(path, flagfile(plan, name, model))
    if plan.tune.plots and model["importance"] and not lack(plots.DRAWS):
        plots.write(
            os.path.join(output, f"importance_{name}.png"),
            name,
            model["importance"],
        )
    first = plan.tune.seed + 1
    return [
        shlex.join(
            [
                *("python", "-m", "trainer.main", f"--flagfile={path}"),
                flag_of("seed", seed),
                flag_of(
                    "run_dir", os.path.join(output, "runs", f"{name}-{seed}")
                ),
            ]
        )
        for seed in range(first, first + FINAL_SEEDS)
    ]


def _model(study: ModelStudy) -> dict[str, Any]:
    """Returns the part of a model in trials.json."""
    trials, best = study.trials(), study.best_trial()
    states = [state_of(trial) for trial in trials]
    return {
        "best": None if best is None else best.number,
        "states": {state: states.count(state) for state in sorted({*states})},
        "minutes": sum(t.user_attrs.get(SECONDS, 0.0) for t in trials) / 60,
        "importance": _importance(study, states.count("complete")),
        "trials": [
            {
                "trial": trial.number,
                "state": state_of(trial),
                "value": study.value_of(trial),
                "seconds": trial.user_attrs.get(SECONDS),
                "evaluations": [
                    value if math.isfinite(value) else None
                    for _, value in sorted(trial.intermediate_values.items())
                ],
                "error": trial.user_attrs.get(ERROR),
                "flags": study.params(trial),
            }
            for trial in trials
        ],
    }


def _importance(study, complete) -> dict[str, float]:
    """Returns each flag's share in being among the better half of trials.

    It is computed by PED-ANOVA (arXiv 2304.10255); the largest come first.
    """
    if complete < FEWEST_TRIALS:
        return {}
    from optuna import importance

    return importance.get_param_importances(
        study.study,
        evaluator=importance.PedAnovaImportanceEvaluator(target_quantile=0.5),
    )


def flagfile(plan: Plan, name: str, model: dict[str, Any]) -> str:
    """Returns the flagfile of a model's best trial.

    Its head says by what it was chosen.

    Args:
        plan: the plan.
        name: name of the model.
        model: its part of trials.json.
    """
    best = model["trials"][model["best"]]
    states = ", ".join(f"{n} {state}" for state, n in model["states"].items())
    limit = f"{plan.tune.minutes:g}" if plan.tune.minutes else "no limit"
    versions = ", ".join(f"{k} {v}" for k, v in plan.versions.items())
    lines = [
        f"{name}, chosen by trainer.tune on {datetime.date.today()}.",
        f"Chosen: trial {model['best']} of {plan.tune.trials} ({states}).",
        f"Metric: {plan.metric} of {plan.task} on the valid rows, "
        f"{best['value']:.6g}; the test rows were not read.",
        f"Time: {model['minutes']:.1f} minutes for all trials (limit: "
        f"{limit}), {best['seconds']:.0f} s for this one.",
        f"Seed: {plan.tune.seed}, of the search and of all trials.",
        f"Versions: {versions}.",
        f"Data: {_data_text(plan.data)}.",
    ]
    flags = trial_flags(name, plan.base, best["flags"])
    comment = [
        line
        for text in lines
        for line in textwrap.wrap(
            text, 79, initial_indent="# ", subsequent_indent="#   "
        )
    ]
    return "\n".join([*comment, *flags.values(), ""])


def _data_text(data):
    if "synthetic_seed" in data:
        return f"the synthetic log of seed {data['synthetic_seed']}"
    return "; ".join(
        f"{name}, {entry['files']} file{'s'[: entry['files'] > 1]}, "
        f"SHA-256 {entry['sha256']}"
        for name, entry in data.items()
    )


def markdown(plan: Plan, models: dict[str, Any]) -> str:
    """Returns the tables of all models and of their trials as Markdown."""
    lines = ["# Trials", "", *(f"- {line}" for line in plan.describe()), ""]
    lines += [
        f"| model | trials | minutes | best {plan.metric} | trial |",
        "|---|---|---|---|---|",
    ]
    for name, model in models.items():
        states = ", ".join(f"{n} {s}" for s, n in model["states"].items())
        number = model["best"]
        value = "" if number is None else model["trials"][number]["value"]
        lines.append(
            f"| {name} | {states} | {model['minutes']:.1f} | {_text(value)} | "
            f"{_text(number)} |"
        )
    for name, model in models.items():
        flags = list(plan.spaces[name])
        names = ["trial", "state", plan.metric, "seconds", *flags]
        failed = [trial for trial in model["trials"] if trial["error"]]
        lines += ["", f"## {name}", ""]
        if model["importance"]:
            shares = ", ".join(
                f"{flag} {share:.2f}"
                for flag, share in model["importance"].items()
            )
            lines += [f"Importance (PED-ANOVA): {shares}", ""]
        lines += [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        for trial in model["trials"]:
            cells = [trial["trial"], trial["state"], trial["value"]]
            cells += [trial["seconds"], *(trial["flags"].get(f) for f in flags)]
            lines.append(f"| {' | '.join(map(_text, cells))} |")
        lines += ["", *(f"- {t['trial']}: {t['error']}" for t in failed)]
    return "\n".join([*lines, ""])


def _text(value):
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
