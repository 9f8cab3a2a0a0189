"""Metrics on resampled rows, for intervals of paired differences."""

from collections.abc import Callable
from math import nan

import numpy as np

from wukong_tf.metrics.functions import auc_by_group, auc_of_bins, of_scalars


def bootstrap(
    labels: np.ndarray,
    logits: np.ndarray,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Returns the metrics of several models on resampled rows.

    A resample draws N rows with replacement or, if there are groups, as many
    groups as there are, each with all of its rows (the cluster bootstrap of
    Field and Welsh, 2007). All models are scored on the same resamples, so
    the difference of two columns is a paired difference.

    Args:
        labels: 0 or 1, [N], at least one row.
        logits: finite, [N, models].
        weights: 0 or more, [N]. Defaults to None, all 1.
        groups: integers, [N], such as user ids. Defaults to None: rows are
            drawn one by one.
        resamples: number of resamples. Defaults to 1000.
        seed: seed of the draws. Defaults to 0.

    Returns:
        "auc", "logloss", "ne" and "calibration", and "group_auc" if there are
        groups, each float64 [resamples, models]; NaN where a resample leaves
        a metric undefined.
    """
    of_draw = [
        _metrics_of_draw(labels, column, weights, groups)
        for column in np.asarray(logits).T
    ]
    random = np.random.default_rng(seed)
    count = len(labels) if groups is None else len(np.unique(groups))
    values = []
    for _ in range(resamples):
        drawn = np.bincount(random.integers(count, size=count), None, count)
        values.append([metrics(drawn) for metrics in of_draw])
    return {
        name: np.array([[each[name] for each in row] for row in values])
        for name in values[0][0]
    }


def metrics_of_rows(
    labels: np.ndarray,
    logits: np.ndarray,
    weights: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns the metrics of `bootstrap` on the rows as they are.

    Args:
        labels: 0 or 1, [N], at least one row.
        logits: finite, [N].
        weights: 0 or more, [N]. Defaults to None, all 1.
        groups: integers, [N]. Defaults to None, no "group_auc".
    """
    count = len(labels) if groups is None else len(np.unique(groups))
    of_draw = _metrics_of_draw(labels, logits, weights, groups)
    return of_draw(np.ones(count, np.int64))


def _metrics_of_draw(
    labels, logits, weights, groups
) -> Callable[[np.ndarray], dict[str, float]]:
    """Returns a function from how often each unit is drawn to the metrics."""
    labels = np.asarray(labels, np.float64)  # [N]
    logits = np.asarray(logits, np.float64)  # [N]
    if weights is None:
        weights = np.ones_like(labels)
    weights = np.asarray(weights, np.float64)  # [N]
    units = np.arange(len(labels))
    if groups is not None:
        units = np.unique(groups, return_inverse=True)[1]
        auc, weight = auc_by_group(labels, logits, units, weights)
        both = np.where(np.isnan(auc), 0.0, weight)
        won = np.where(np.isnan(auc), 0.0, auc * weight)
    sums = {
        name: np.bincount(units, weights * column)
        for name, column in {
            "weight": np.ones_like(labels),
            "label": labels,
            "loss": np.logaddexp(0.0, logits) - labels * logits,
            "prediction": np.exp(-np.logaddexp(0.0, -logits)),
        }.items()
    }
    sums["rows"] = np.bincount(units)
    order = np.argsort(logits)
    ordered = logits[order]
    ties = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ranked = units[order]
    positive = (weights * labels)[order]
    negative = (weights * (1.0 - labels))[order]

    def metrics(drawn):
        times = drawn[ranked]
        values = {
            "auc": auc_of_bins(
                np.add.reduceat(times * negative, ties),
                np.add.reduceat(times * positive, ties),
            ),
            **of_scalars({n: drawn @ total for n, total in sums.items()}),
        }
        del values["base_rate"], values["rows"]
        if groups is not None:
            total = drawn @ both
            values["group_auc"] = float(drawn @ won / total if total else nan)
        return values

    return metrics
