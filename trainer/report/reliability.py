"""Bins of predictions with their observed rates: the reliability diagram."""

import dataclasses

import numpy as np

from trainer.report import curves, style
from trainer.report.curves import Predictions
from trainer.report.plots import Plot, left_out

LOW_BASE_RATE = 0.1  # below it, bins and axes are logarithmic
NUM_BINS = 20
FEWEST_ROWS = 20  # of a bin, or a thousandth of the rows if that is more
SMALLEST = 1e-9  # of the predictions on a logarithmic axis


@dataclasses.dataclass(frozen=True)
class Bins:
    """Rows binned by prediction.

    Args:
        edges: ends of the bins, ascending, [bins + 1].
        rows: number of rows, [bins].
        predicted: mean prediction, [bins].
        observed: share of positives, [bins].
        low: lower end of the 95% interval of the observed rate, [bins].
        high: upper end of it, [bins].
    """

    edges: np.ndarray
    rows: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def to_list(self) -> list[dict[str, float]]:
        """Returns the bins as JSON values."""
        names = ("from", "to", "rows", "predicted", "observed", "low", "high")
        columns = (
            self.edges[:-1],
            self.edges[1:],
            self.rows,
            self.predicted,
            self.observed,
            self.low,
            self.high,
        )
        return [
            dict(zip(names, values, strict=True))
            for values in zip(*(c.tolist() for c in columns), strict=True)
        ]


def bins_of(predictions: Predictions) -> tuple[Bins | None, bool]:
    """Returns the bins, None without rows, and whether they are logarithmic."""
    labels, logits, weights = curves.drawable(predictions)
    if not len(labels):
        return None, False
    log = bool(np.average(labels, weights=weights) < LOW_BASE_RATE)
    return reliability(labels, curves.sigmoid(logits), weights, log=log), log


def reliability(
    labels: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray,
    *,
    log: bool = False,
) -> Bins:
    """Returns 20 equally wide bins from the lowest to the highest prediction.

    Neighbours are merged until each has 20 rows, or a thousandth of all.

    Args:
        labels: zeros and ones [N], N at least 1.
        probabilities: floats [N].
        weights: floats above 0 [N].
        log: whether the bins are equally wide in the logarithm of the
            prediction. Defaults to False.
    """
    scale = np.log(probabilities.clip(SMALLEST)) if log else probabilities
    ends = np.linspace(scale.min(), scale.max(), NUM_BINS + 1)
    place = np.searchsorted(ends[1:-1], scale, side="right")
    fewest = max(FEWEST_ROWS, len(labels) // 1000)
    merged = _merged(np.bincount(place, minlength=NUM_BINS), fewest)
    first = np.flatnonzero(np.append(True, np.diff(merged) > 0))
    edges = np.append(ends[first], ends[-1])
    rows = merged[place]

    def total(values):
        return np.bincount(rows, values, len(first))

    weight = total(weights)
    observed = total(weights * labels) / weight
    # Kish's effective sample size: unequal weights carry less than N rows.
    low, high = wilson_interval(observed, weight**2 / total(weights**2))
    return Bins(
        np.exp(edges) if log else edges,
        np.bincount(rows),
        total(weights * probabilities) / weight,
        observed,
        low,
        high,
    )


def _merged(counts, fewest):
    """Returns, for each bin, the merged bin that it is part of."""
    merged, rows, part = [], 0, 0
    for count in counts:
        merged.append(part)
        rows += count
        if rows >= fewest:
            rows, part = 0, part + 1
    # What is left joins the last bin that is full.
    return np.minimum(merged, max(part - 1, 0))


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


def plot(predictions: Predictions, task: str, split: str) -> Plot:
    """Returns a plot of observed rates by prediction, with rows per bin."""
    bins, log = bins_of(predictions)

    def draw(figure, theme):
        if bins is None:
            return style.write(figure, theme, "There are no rows to draw.")
        upper, lower = figure.subplots(
            2, 1, sharex=True, height_ratios=(3.2, 1)
        )
        style.style_axes(upper, theme, "", "observed rate")
        style.style_axes(lower, theme, "prediction", "rows")
        limits = _limits(bins, log)
        _draw_rates(upper, theme, bins, limits, log)
        lower.stairs(
            bins.rows, bins.edges, fill=True, color=theme.first, alpha=0.35
        )
        if bins.rows.max() > 30 * bins.rows.min():
            lower.set_yscale("log")
            lower.set_ylim(bottom=bins.rows.min() / 2)
        else:
            lower.locator_params(axis="y", nbins=3)
        style.count_axis(lower.yaxis)
        style.add_legend(upper, theme, loc="upper left")

    return Plot(
        "calibration",
        f"Calibration of {task}, {split} rows",
        "Observed share of positives by prediction, with the number of rows "
        "of each bin below; a bin on the dashed line was positive as often "
        "as predicted, one below it less often." + left_out(predictions),
        draw,
    )


def _draw_rates(axes, theme, bins, limits, log):
    axes.plot(limits, limits, color=theme.muted, ls="--", label="exact")
    if log:
        style.log_axes(axes, limits[1] / limits[0])
    observed, low = bins.observed.clip(limits[0]), bins.low.clip(limits[0])
    axes.vlines(bins.predicted, low, bins.high, theme.first, lw=2, alpha=0.5)
    seen = bins.observed >= limits[0]
    axes.plot(
        bins.predicted[seen], observed[seen], "o-", color=theme.first,
        ms=5, lw=1, label="bin, with its 95% interval",
    )  # fmt: skip
    if not seen.all():
        axes.plot(
            bins.predicted[~seen], observed[~seen], "v", ms=7,
            mfc="none", color=theme.first, clip_on=False,
            label="bin without positives",
        )  # fmt: skip
    axes.set(xlim=limits, ylim=limits)


def _limits(bins, log):
    """Returns both ends of both axes."""
    values = np.concatenate([bins.predicted, bins.observed])
    top = max(values.max(), bins.high.max())
    if not log:
        return 0.0, min(1.0, 1.08 * top)
    floor = 0.6 * max(values[values > 0].min(initial=1.0), SMALLEST)
    return floor, min(1.0, 1.6 * top)
