"""Metrics as pure NumPy functions, in float64."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def sampled_weights(labels: Any, weights: Any, negative_rate: float) -> Any:
    """Returns the weights of rows in a log with sampled negatives.

    A negative row counts 1 / negative_rate times, so that metrics are those of
    the whole log.

    Args:
        labels: 0 or 1, [N], floats in a NumPy array or a TensorFlow tensor.
        weights: weights of the rows, [N], or None if all are 1.
        negative_rate: sampling rate of the negatives, in (0, 1].

    Returns:
        The weights [N]; `weights` itself for a rate of 1.
    """
    if negative_rate == 1:
        return weights
    factors = labels + (1 - labels) * (1 / negative_rate)
    return factors if weights is None else weights * factors


def of_sums(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes metrics from the sums of `binary_sums`.

    Returns:
        `auc`, the area under the ROC curve, from the bins, ties counting
        half; and the metrics of `of_scalars`.

        An undefined metric, such as the AUC of rows of one class, is NaN.
    """
    auc = auc_of_bins(sums["negative_bins"], sums["positive_bins"])
    return {"auc": auc, **of_scalars(sums)}


def of_scalars(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes metrics from the sums of `scalar_sums`.

    Returns:
        `logloss`, the mean binary cross-entropy, in nats; `ne`, normalized
        entropy, LogLoss over the entropy of the base rate (He et al.,
        2014), below 1 if better than the base rate; `calibration`, the sum
        of predicted over the sum of observed clicks; `base_rate`, the share
        of positive rows; `rows`, their number.

        An undefined metric is NaN.
    """
    weight, label = float(sums["weight"]), float(sums["label"])
    with np.errstate(divide="ignore", invalid="ignore"):
        logloss = np.float64(sums["loss"]) / weight
        rate = np.float64(label) / weight
        entropy = _entropy(rate)
        return {
            "logloss": float(logloss),
            "ne": float(logloss / entropy if entropy > 0 else np.nan),
            "calibration": float(sums["prediction"]) / (label or np.nan),
            "base_rate": float(rate),
            "rows": int(sums["rows"]),
        }


def auc_of_bins(negative: np.ndarray, positive: np.ndarray) -> float:
    """Returns the AUC of weights by ascending score bin; NaN for one class."""
    negative = np.asarray(negative, np.float64)
    positive = np.asarray(positive, np.float64)
    below = np.cumsum(negative) - negative
    pairs = float(negative.sum()) * float(positive.sum())
    if pairs == 0:
        return float("nan")
    won = float(np.sum(positive * (below + 0.5 * negative)))
    return won / pairs


def exact_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """Computes AUC by sorting; ties count half; NaN for rows of one class.

    Args:
        labels: 0 or 1, [N].
        scores: [N], finite.
        weights: 0 or more, [N]. Defaults to None, all 1.
    """
    if len(labels) == 0:
        return float("nan")
    labels, weights = _floats(labels, weights)
    _, place = np.unique(np.asarray(scores), return_inverse=True)
    negative = np.bincount(place, weights * (1.0 - labels))
    positive = np.bincount(place, weights * labels)
    return auc_of_bins(negative, positive)


def grouped_auc(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None = None,
) -> float:
    """Returns the mean AUC of the groups with both classes, by weight.

    Args:
        labels: 0 or 1, [N].
        scores: [N], finite.
        groups: integers, [N], such as user ids.
        weights: 0 or more, [N]. Defaults to None, all 1.

    Returns:
        The mean over groups of exact AUC, each group weighted by the sum of its
        rows' weights; NaN if no group has both classes.
    """
    auc, weight = auc_by_group(labels, scores, groups, weights)
    both = ~np.isnan(auc)
    if not both.any():
        return float("nan")
    return float(np.average(auc[both], weights=weight[both]))


def auc_by_group(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the exact AUC and the weight of each group, [G] and [G].

    Args:
        labels: 0 or 1, [N].
        scores: [N], finite.
        groups: integers, [N], of G distinct values.
        weights: 0 or more, [N]. Defaults to None, all 1.

    Returns:
        Two float64 arrays in ascending order of the groups, their AUC (NaN
        for a group of one class) and the sums of their rows' weights.
    """
    if len(labels) == 0:
        return np.zeros(0), np.zeros(0)
    labels, weights = _floats(labels, weights)
    order = np.lexsort((scores, groups))
    groups = np.asarray(groups)[order]
    scores = np.asarray(scores)[order]
    positive = (weights * labels)[order]
    negative = (weights * (1.0 - labels))[order]
    new_group = np.append(True, groups[1:] != groups[:-1])
    new_tie = new_group | np.append(True, scores[1:] != scores[:-1])
    # Rows of one group and score form a bin; a group's bins are contiguous.
    bins = np.flatnonzero(new_tie)
    positive = np.add.reduceat(positive, bins)
    negative = np.add.reduceat(negative, bins)
    starts = np.flatnonzero(new_group[bins])
    group = np.cumsum(new_group[bins]) - 1
    below = np.cumsum(negative) - negative
    below -= below[starts][group]
    won = np.add.reduceat(positive * (below + 0.5 * negative), starts)
    positives = np.add.reduceat(positive, starts)
    negatives = np.add.reduceat(negative, starts)
    pairs = positives * negatives
    auc = np.full(len(starts), np.nan)
    np.divide(won, pairs, out=auc, where=pairs > 0)
    return auc, positives + negatives


def _floats(labels, weights):
    """Returns labels and weights, 1 if None, as float64."""
    labels = np.asarray(labels, np.float64)
    if weights is None:
        return labels, np.ones_like(labels)
    return labels, np.asarray(weights, np.float64)


def _entropy(p):
    """Returns the entropy in nats of a Bernoulli(p) variable; NaN for NaN."""
    p = np.asarray(p, np.float64)
    inside = np.clip(p, 1e-300, 1.0 - 1e-16)
    value = -inside * np.log(inside) - (1.0 - inside) * np.log1p(-inside)
    return np.where((p <= 0) | (p >= 1), np.where(np.isnan(p), p, 0.0), value)
