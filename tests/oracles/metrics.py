"""Metrics from their definitions, in float64, by loops over rows and pairs."""

import math
from collections.abc import Sequence

import numpy as np

Rows = Sequence[float] | np.ndarray


def logloss(labels: Rows, logits: Rows, weights: Rows) -> float:
    """Returns the weighted mean of -log p(label), in nats."""
    total = 0.0
    for label, logit, weight in _rows(labels, logits, weights):
        sign = 1.0 if label else -1.0
        total += weight * math.log1p(math.exp(-sign * logit))
    return total / math.fsum(weights)


def normalized_entropy(labels: Rows, logits: Rows, weights: Rows) -> float:
    """Returns LogLoss over that of predicting the weighted base rate."""
    rate = np.average(labels, weights=weights)
    always = math.log(rate / (1.0 - rate))
    return logloss(labels, logits, weights) / logloss(
        labels, np.full(len(labels), always), weights
    )


def calibration(labels: Rows, logits: Rows, weights: Rows) -> float:
    """Returns predicted clicks over observed clicks."""
    rows = _rows(labels, logits, weights)
    predicted = sum(w / (1.0 + math.exp(-logit)) for _, logit, w in rows)
    return predicted / sum(w * label for label, _, w in rows)


def _rows(*columns: Rows) -> list[tuple[float, ...]]:
    """Returns rows of Python floats, as float32 would make sums inexact."""
    return list(zip(*(map(float, column) for column in columns), strict=True))


def auc(labels: Rows, scores: Rows, weights: Rows) -> float:
    """Returns the weighted share of correctly ordered (1, 0) pairs."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    weights = np.asarray(weights, np.float64)
    won, pairs = 0.0, 0.0
    for one in np.flatnonzero(labels == 1):
        for other in np.flatnonzero(labels == 0):
            weight = weights[one] * weights[other]
            pairs += weight
            if scores[one] > scores[other]:
                won += weight
            elif scores[one] == scores[other]:
                won += weight / 2.0
    return won / pairs if pairs else math.nan


def grouped_auc(
    labels: Rows, scores: Rows, groups: Rows, weights: Rows
) -> float:
    """Returns the weighted mean AUC of the groups for which it is defined."""
    labels, scores = np.asarray(labels), np.asarray(scores)
    groups, weights = np.asarray(groups), np.asarray(weights, np.float64)
    total, weight = 0.0, 0.0
    for group in set(groups.tolist()):
        rows = groups == group
        value = auc(labels[rows], scores[rows], weights[rows])
        if not math.isnan(value):
            total += value * weights[rows].sum()
            weight += weights[rows].sum()
    return total / weight if weight else math.nan
