"""Computes the data of the report's plots in pure NumPy."""

import dataclasses

import numpy as np

from wukong_tf.errors import DataError


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of one task on the rows of one split.

    Args:
        labels: zeros and ones, float32 [N].
        logits: float32 [N]; rows whose logit is not finite are not drawn.
        weights: finite and at least 0, float32 [N]. Defaults to None, 1 for
            all.

    Raises:
        DataError: an array is invalid; the message names the array, the rule
            and the value received.
    """

    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self):
        if np.ndim(self.logits) != 1:
            raise DataError(
                "predictions: `logits` must have shape [N]; received "
                f"{np.shape(self.logits)}."
            )
        for name in ("labels", "weights"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != np.shape(self.logits):
                raise DataError(
                    f"predictions: `{name}` must have the shape of the "
                    f"logits, {np.shape(self.logits)}; received "
                    f"{np.shape(value)}."
                )
        labels = np.asarray(self.labels)
        wrong = labels[(labels != 0) & (labels != 1)]
        if wrong.size:
            raise DataError(
                "predictions: `labels` must be 0 or 1; received "
                f"{wrong[0]} among them."
            )
        if self.weights is None:
            return
        weights = np.asarray(self.weights)
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
        if wrong.size:
            raise DataError(
                "predictions: `weights` must be finite and at least 0; "
                f"received {wrong[0]} among them."
            )


def drawable(
    predictions: Predictions,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns float64 labels, logits and weights of the rows to draw."""
    logits = np.asarray(predictions.logits, np.float64)
    labels = np.asarray(predictions.labels, np.float64)
    if predictions.weights is None:
        weights = np.ones_like(logits)
    else:
        weights = np.asarray(predictions.weights, np.float64)
    keep = np.isfinite(logits) & (weights > 0)
    return labels[keep], logits[keep], weights[keep]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-x)) in float64, accurate in both tails."""
    logits = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def roc_curve(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns false and true positive rates at every threshold from (0, 0).

    Rows of equal score pass a threshold together, so a tie is one straight
    segment and the area under the curve counts it half.

    Args:
        labels: zeros and ones [N], with weight on both.
        scores: floats [N], higher for likelier positives.
        weights: floats [N].

    Returns:
        Two float64 arrays [number of distinct scores + 1].
    """
    return _passed(scores, weights * (1 - labels), weights * labels)


def gain_curve(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns shares of rows and of positives at every threshold from (0, 0).

    The second is the cumulative gain; over the first, it is the lift. Ties
    and arguments are as in `roc_curve`, but there may be no negatives.
    """
    return _passed(scores, weights, weights * labels)


def _passed(scores, *masses):
    """Returns the share of each mass whose score passes each threshold."""
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.diff(scores[order], append=np.inf))
    shares = []
    for mass in masses:
        passed = np.cumsum(mass[order], dtype=np.float64)
        shares.append(np.append(0.0, passed[last_of_tie] / passed[-1]))
    return shares[0], shares[1]


def roc_table(predictions: Predictions) -> dict[str, list[float]]:
    """Returns at most 101 points of the ROC curve; none for one class."""
    labels, logits, weights = drawable(predictions)
    rates = (np.zeros(0), np.zeros(0))
    if 0 < labels.sum() < len(labels):
        rates = thin_curve(*roc_curve(labels, logits, weights), 101)
    names = ("false_positive_rate", "true_positive_rate")
    return {n: rate.tolist() for n, rate in zip(names, rates, strict=True)}


GAIN_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def gain_table(predictions: Predictions) -> list[dict[str, float]]:
    """Returns gain and lift of the highest scores at GAIN_SHARES of the rows.

    Rows of equal score are taken in proportion. There are no entries without
    positives.
    """
    labels, logits, weights = drawable(predictions)
    if not labels.any():
        return []
    gains = np.interp(GAIN_SHARES, *gain_curve(labels, logits, weights))
    return [
        {"rows": share, "gain": float(gain), "lift": float(gain / share)}
        for share, gain in zip(GAIN_SHARES, gains, strict=True)
    ]


def thin_curve(
    x: np.ndarray, y: np.ndarray, max_points: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `max_points` points of a curve, with both ends.

    The points are chosen evenly along x + y, which must not decrease, as on
    ROC and gain curves; so steep and flat parts keep the same detail.
    """
    if len(x) <= max_points:
        return x, y
    way = x + y
    stops = np.linspace(way[0], way[-1], max_points)
    keep = np.searchsorted(way, stops).clip(max=len(x) - 1)
    keep = np.unique(keep)
    return x[keep], y[keep]
