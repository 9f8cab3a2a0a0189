"""Metrics of runs, their spread over seeds, and paired differences."""

import collections
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.comparison.held_out import Run
from trainer.loop.evaluator import Scores
from trainer.settings.compare import Compare
from wukong_tf.metrics import bootstrap, metrics_of_rows

INTERVAL = 0.95
LONGEST = 200  # of a setting's JSON that is shown as it is


def groups_of(runs: Sequence[Run]) -> list[list[int]]:
    """Returns the indices of runs that differ only by their seed, together.

    Runs of the same seed too, such as a copy, or one that began from another
    run's weights, are put into different groups, in the order given.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    earlier: collections.Counter[tuple[str, int | None]] = collections.Counter()
    for index, run in enumerate(runs):
        text = json.dumps(run.without_seed, sort_keys=True)
        same = (text, run.seed)
        groups.setdefault((text, earlier[same]), []).append(index)
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
    firsts = [runs[group[0]] for group in groups]
    columns = [{*run.spec.feature_names} for run in firsts]
    apart = columns[0].union(*columns) - columns[0].intersection(*columns)
    flat = [dict(_flat(run, apart)) for run in firsts]
    names = sorted({name for each in flat for name in each})
    different = [
        name
        for name in names
        if any(each.get(name) != flat[0].get(name) for each in flat)
    ]
    return [{name: each.get(name) for name in different} for each in flat]


def _flat(run, apart) -> Iterator[tuple[str, Any]]:
    """Yields all by which runs are grouped, as names and short values.

    Args:
        run: the run.
        apart: columns that not all runs have; "features" names them.
    """
    content = run.without_seed
    for kind, part in content.pop("features").items():
        for item in part if isinstance(part, list) else ():
            name = item.get("name")
            for field, value in item.items() if name not in apart else ():
                yield f"{kind} {name} {field}", _short(value)
    yield "features", list(run.spec.feature_names)
    for key, part in content.items():
        if key in ("model", "training"):
            yield from part.items()
        elif key in ("data", "init"):
            for name, value in (part or {}).items():
                yield f"{key} {name}", _short(value)
        else:
            yield key, _short(part)


def _short(value):
    """Returns a value, or for a long one the beginning of its SHA-256."""
    text = json.dumps(value)
    if len(text) <= LONGEST:
        return value
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{len(value)} values, SHA-256 {digest[:12]}"
