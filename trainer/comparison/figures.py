"""Metrics of runs, their spread over seeds, and paired differences."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.comparison.held_out import Run
from trainer.loop.evaluator import Scores
from trainer.settings.compare import Compare
from wukong_tf.metrics import bootstrap, metrics_of_rows

INTERVAL = 0.95
IGNORED = ("format", "run", "data")  # of config.json, in what differs


def groups_of(runs: Sequence[Run]) -> list[list[int]]:
    """Returns the indices of runs that differ only by their seed, together.

    Runs of the same seed too, such as a copy, or one that began from another
    run's weights, are put into different groups, in the order given.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    earlier: collections.Counter[tuple[str, int | None]] = collections.Counter()
    for index, run in enumerate(runs):
        same = (run.without_seed, run.seed)
        groups.setdefault((run.without_seed, earlier[same]), []).append(index)
        earlier[same] += 1
    return list(groups.values())


def figures_of(
    runs: Sequence[Run],
    scored: Sequence[Mapping[str, Scores]],
    settings: Compare,
) -> dict[str, Any]:
    """Returns the content of comparison.json.

    Args:
        runs: the runs; differences are to the group of the first.
        scored: the scores of each run by task, on the same rows.
        settings: resamples and their seed.
    """
    groups = groups_of(runs)
    differing = settings_that_differ(runs, groups)
    tasks = {
        task: _figures_of_task(
            [scores[task] for scores in scored], groups, settings
        )
        for task in scored[0]
    }
    return {
        "split": runs[0].split,
        "resampled": "rows" if _units(scored[0]) is None else "groups",
        "resamples": settings.resamples,
        "interval": INTERVAL,
        "runs": [
            {
                "run": run.path,
                "name": run.name,
                "seed": run.seed,
                "model": run.config["model"].get("model"),
                "train_rows": run.config.get("data", {}).get("train"),
            }
            for run in runs
        ],
        "groups": [
            {
                "name": _name(runs, group),
                "runs": [runs[index].name for index in group],
                "settings": different,
            }
            for group, different in zip(groups, differing, strict=True)
        ],
        "tasks": tasks,
    }


def _name(runs, group):
    name = runs[group[0]].name
    return name if len(group) == 1 else f"{name} and {len(group) - 1} more"


def _units(scores):
    return next(iter(scores.values())).groups


def _figures_of_task(scores, groups, settings):
    rows = scores[0]
    labels, weights, units = rows.labels, rows.weights, rows.groups
    logits = np.stack([each.logits for each in scores], axis=1)
    metrics = [
        metrics_of_rows(labels, column, weights, units) for column in logits.T
    ]
    samples = None
    if settings.resamples and len(groups) > 1:
        samples = bootstrap(
            labels,
            logits,
            weights,
            units,
            resamples=settings.resamples,
            seed=settings.seed,
        )
    return {
        "rows": len(labels),
        "metrics": metrics,
        "groups": [
            {
                "metrics": {
                    name: _spread([metrics[index][name] for index in group])
                    for name in metrics[0]
                },
                "differences": None
                if group is groups[0]
                else {
                    name: _difference(
                        np.array([each[name] for each in metrics]),
                        None if samples is None else samples[name],
                        group,
                        groups[0],
                    )
                    for name in metrics[0]
                },
            }
            for group in groups
        ],
    }


def _spread(values):
    """Returns mean and sample standard deviation; NaN for one value."""
    deviation = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return {"mean": float(np.mean(values)), "deviation": float(deviation)}


def _difference(values, samples, group, first):
    """Returns the difference of two groups' means, with its interval."""
    difference = {"difference": values[group].mean() - values[first].mean()}
    if samples is not None:
        apart = samples[:, group].mean(1) - samples[:, first].mean(1)
        rest = (1 - INTERVAL) / 2
        low, high = np.nanquantile(apart, (rest, 1 - rest))
        difference |= {"low": low, "high": high}
    return {name: float(value) for name, value in difference.items()}


def settings_that_differ(
    runs: Sequence[Run], groups: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Returns, for each group, its settings that not all groups share."""
    flat = [_flat(runs[group[0]]) for group in groups]
    names = sorted({name for each in flat for name in each})
    different = [
        name
        for name in names
        if any(each.get(name) != flat[0].get(name) for each in flat)
    ]
    return [{name: each.get(name) for name in different} for each in flat]


def _flat(run):
    """Returns the settings of a run by name, and its features."""
    content = {
        name: value
        for key, part in run.config.items()
        if key not in IGNORED and isinstance(part, dict)
        for name, value in part.items()
        if name != "seed"
    }
    return content | {"features": list(run.spec.feature_names)}
