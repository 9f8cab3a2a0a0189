"""Computes the data of the report's plots in pure NumPy."""

import dataclasses
import json

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
    order = np.argsort(-scores, kind="stable")
    scores, labels, weights = scores[order], labels[order], weights[order]
    last_of_tie = np.flatnonzero(np.diff(scores, append=-np.inf))
    rates = []
    for mass in (weights * (1 - labels), weights * labels):
        passed = np.cumsum(mass, dtype=np.float64)
        rates.append(np.append(0.0, passed[last_of_tie] / passed[-1]))
    return rates[0], rates[1]


def thin_curve(
    x: np.ndarray, y: np.ndarray, max_points: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `max_points` of a ROC curve's points, with both ends.

    The points are chosen evenly along x + y, which never decreases on such a
    curve, so steep and flat parts keep the same detail.
    """
    if len(x) <= max_points:
        return x, y
    way = x + y
    stops = np.linspace(way[0], way[-1], max_points)
    keep = np.searchsorted(way, stops).clip(max=len(x) - 1)
    keep = np.unique(keep)
    return x[keep], y[keep]


@dataclasses.dataclass(frozen=True)
class CalibrationBins:
    """Mean prediction and observed rate of bins of equal weight, [bins]."""

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def calibration_bins(
    labels: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    num_bins: int = 20,
) -> CalibrationBins:
    """Returns bins of nearly equal weight, in the order of the predictions.

    Rows of equal prediction share a bin, so the order of the rows does not
    matter; empty bins are omitted.

    Args:
        labels: zeros and ones [N].
        probabilities: floats [N].
        weights: floats above 0 [N].
        num_bins: maximum number of bins. Defaults to 20.

    Returns:
        The bins, with a 95% interval of each observed rate.
    """
    values, group = np.unique(probabilities, return_inverse=True)
    mass = np.bincount(group, weights, len(values))
    middle = np.cumsum(mass) - mass / 2
    bin_of_value = (num_bins * (middle / mass.sum())).astype(int)
    rows = bin_of_value.clip(0, num_bins - 1)[group]

    def total(values):
        return np.bincount(rows, values, num_bins)

    filled = total(weights) > 0
    weight = total(weights)[filled]
    observed = total(weights * labels)[filled] / weight
    # Kish's effective sample size: unequal weights carry less than N rows.
    effective = weight**2 / total(weights**2)[filled]
    low, high = wilson_interval(observed, effective)
    predicted = total(weights * probabilities)[filled] / weight
    return CalibrationBins(predicted, observed, low, high, weight)


def wilson_interval(
    rate: np.ndarray, rows: np.ndarray, z: float = 1.959964
) -> tuple[np.ndarray, np.ndarray]:
    """Returns Wilson's score interval of a binomial rate seen on `rows` rows.

    Its ends are the true rates p for which |rate - p| is z standard errors,
    sqrt(p (1 - p) / rows); the default z gives 95% coverage.
    """
    share = z**2 / rows
    center = rate + share / 2
    radius = z * np.sqrt(rate * (1 - rate) / rows + share / (4 * rows))
    low = (center - radius) / (1 + share)
    high = (center + radius) / (1 + share)
    return low.clip(0, 1), high.clip(0, 1)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Returns the centred mean over `window` neighbours, fewer at the ends.

    Values that are not finite are ignored; the mean of none is NaN.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    sums = np.append(0.0, np.cumsum(np.where(finite, values, 0.0)))
    counts = np.append(0, np.cumsum(finite))
    place = np.arange(len(values))
    first = (place - window // 2).clip(0)
    last = (place + (window - 1) // 2 + 1).clip(max=len(values))
    count = counts[last] - counts[first]
    mean = (sums[last] - sums[first]) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def read_log(path: str) -> dict[str, list[dict]]:
    """Reads the records of metrics.jsonl by kind, one per step, in step order.

    A resumed run may have logged some steps twice; the later record counts.
    A line truncated by a crash is ignored, and so is a missing file.
    """
    by_kind: dict[str, dict[float, dict]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    step = float(record["step"])
                    kind = str(record["kind"])
                except (
                    ValueError,
                    KeyError,
                    TypeError,
                    OverflowError,
                    RecursionError,
                ):
                    continue
                by_kind.setdefault(kind, {})[step] = record
    except FileNotFoundError:
        return {}
    return {
        kind: [records[step] for step in sorted(records)]
        for kind, records in by_kind.items()
    }


def series(records: list[dict], *keys: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps and the values under the nested `keys`.

    Records without the value, or with null, are skipped.
    """
    steps, values = [], []
    for record in records:
        value = record
        try:
            for key in keys:
                value = value[key]
            number = float(value)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        steps.append(float(record["step"]))
        values.append(number)
    return np.array(steps), np.array(values)
