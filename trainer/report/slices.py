"""Metrics of the rows by the value of a feature."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainer.loop.evaluator import Scores
from trainer.report.curves import sigmoid
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
)
from wukong_tf.config.categorical_feature import MISSING_ID, PADDING_ID
from wukong_tf.errors import ConfigError
from wukong_tf.metrics import auc_by_group

LARGEST = 24  # slices that are listed: all hours, or those of most rows
WORST = 10  # slices that are listed as badly calibrated
ENOUGH_ROWS = 100  # of a slice to be among them
MOST_NUMBERS = 20  # distinct numbers that are slices; of more, ten ranges are
MISSING = "missing"


def check(features: FeatureSpec, names: Sequence[str]):
    """Raises ConfigError unless features can be sliced by these names."""
    known = [each.name for each in features.categorical if not each.pooling]
    known += [each.name for each in features.numeric]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--slices must name features of one value per row, {known}; "
                f"received {name!r}."
            )


def by_value(
    spec: FeatureSpec, names: Sequence[str], scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """Returns metrics by the value of each feature, for each task.

    A slice has "value", "rows", "positives", "auc", "calibration", and the
    ends of its 95% interval, "calibration_low" and "calibration_high".

    Args:
        spec: the features.
        names: names of features, as `check` allows.
        scores: the scores of each task, with these features.

    Returns:
        "features": {feature: {task: {"slices", "largest"}}}, the number of
        slices, and the 24 of most rows, or all in ascending order of ids or
        numbers;
        "worst": {task: slices of any "feature"} of at least "enough_rows"
        rows whose calibration is furthest from 1, measured from the nearer
        end of an interval that excludes 1.
    """
    features = {each.name: each for each in spec.all_features}
    found: dict[str, Any] = {name: {} for name in names}
    worst: dict[str, list] = {}
    for task, rows in scores.items():
        candidates = []
        for name in names:
            values, texts = _values(spec, features[name], rows.features[name])
            table = _table(rows, values, texts)
            largest = table
            if len(table) > LARGEST:
                largest = sorted(table, key=lambda each: -each["rows"])
            found[name][task] = {
                "slices": len(table),
                "largest": largest[:LARGEST],
            }
            candidates += [{"feature": name, **each} for each in table]
        bad = [
            each
            for each in candidates
            if each["rows"] >= ENOUGH_ROWS and _beyond(each) > 0
        ]
        worst[task] = sorted(bad, key=_beyond, reverse=True)[:WORST]
    return {"features": found, "worst": worst, "enough_rows": ENOUGH_ROWS}


def _beyond(row):
    """Returns how far 1 is outside the interval, as a logarithm; NaN is not."""
    low, high = row["calibration_low"], row["calibration_high"]
    if not 0 < low <= high < np.inf:
        return -np.inf
    return max(np.log(low), -np.log(high))


def _table(scores, values, texts):
    """Returns a dict of the metrics of each slice, in the order of `texts`."""
    labels = scores.labels.astype(np.float64)
    weights = scores.weights
    weights = np.ones_like(labels) if weights is None else weights
    probabilities = sigmoid(scores.logits)

    def total(column):
        return np.bincount(values, column, len(texts))

    observed = total(weights * labels)
    with np.errstate(divide="ignore", invalid="ignore"):
        calibration = total(weights * probabilities) / observed
        # Standard error of its logarithm, as of a ratio to a sum.
        error = np.sqrt(total((weights * (labels - probabilities)) ** 2))
        error /= observed
        low = calibration * np.exp(-1.96 * error)
        high = calibration * np.exp(1.96 * error)
    auc, _ = auc_by_group(labels, scores.logits, values, weights)
    columns = {
        "rows": total(np.ones_like(labels)).astype(int),
        "positives": total(labels).astype(int),
        "auc": auc,
        "calibration": calibration,
        "calibration_low": low,
        "calibration_high": high,
    }
    return [
        {"value": text, **dict(zip(columns, numbers, strict=True))}
        for text, *numbers in zip(
            texts, *(c.tolist() for c in columns.values()), strict=True
        )
    ]


def _values(spec, feature, column) -> tuple[np.ndarray, list[str]]:
    """Returns the slice of each row, from 0 on, and the names of slices."""
    if isinstance(feature, NumericFeature):
        return _ranges(column)
    ids, values = np.unique(column, return_inverse=True)
    return values, [value_of(spec, feature, int(id)) for id in ids]


def _ranges(column):
    """Returns slices of numbers: each number, or ten of equal size if many."""
    known = column[~np.isnan(column)]
    numbers = np.unique(known)
    if len(numbers) <= MOST_NUMBERS:
        places = np.searchsorted(numbers, column)
        texts = [f"{number:g}" for number in numbers]
    else:
        ends = np.unique(np.quantile(known, np.linspace(0, 1, 11)))
        places = np.searchsorted(ends[1:-1], column, side="right")
        texts = [
            f"{low:.3g} to {high:.3g}"
            for low, high in zip(ends[:-1], ends[1:], strict=True)
        ]
    places = np.where(np.isnan(column), len(texts), places)
    filled, places = np.unique(places, return_inverse=True)
    return places, [[*texts, MISSING][place] for place in filled]


def value_of(spec: FeatureSpec, feature: CategoricalFeature, id: int) -> str:
    """Returns the value that an id stands for, as text."""
    if feature.raw is None:
        return str(id)
    if id in (PADDING_ID, MISSING_ID):
        return MISSING
    place = id - feature.first_id
    if place >= 0 and feature.boundaries is not None:
        ends = [f"{end:g}" for end in feature.boundaries]
        if place == 0:
            return f"below {ends[0]}" if ends else "any"
        if place >= len(ends):
            return f"at least {ends[-1]}"
        return f"{ends[place - 1]} to {ends[place]}"
    words = spec.vocabulary(feature.table_name) or ()
    if 0 <= place < len(words):
        return words[place]
    # Values without a vocabulary, or outside of it, are known by their hash.
    return f"out of vocabulary, id {id}" if words else f"hash, id {id}"
