"""Draws the report's plots with matplotlib's object interface.

pyplot is not used, so drawing needs no display and leaves no global state.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from trainer.report import curves, style
from trainer.report.curves import Predictions

MOST_FEATURES = 10  # of the plot of importance


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot: file name, title, caption and drawing function.

    Args:
        name: first part of the file name, such as "roc".
        title: short title.
        caption: one sentence on how to read it.
        draw: draws on an empty matplotlib figure in the theme's colors.
        height: inches, of a width of 6. Defaults to 4.5.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., None]
    height: float = 4.5


def render(plot: Plot, theme: style.Theme) -> bytes:
    """Returns the plot as PNG bytes."""
    return style.png(plot.draw, theme, plot.title, (6, plot.height))


def roc(predictions: Predictions, task: str, split: str, auc) -> Plot:
    """Returns a plot of the ROC curve, with the metrics' AUC as legend."""
    labels, logits, weights = curves.drawable(predictions)
    both = 0 < labels.sum() < len(labels)
    if both:
        fpr, tpr = curves.roc_curve(labels, logits, weights)
        fpr, tpr = curves.thin_curve(fpr, tpr)
    named = "" if auc is None else f" (AUC {auc:.4f})"

    def draw(figure, theme):
        if not both:
            text = "A ROC curve needs rows of both labels; one is missing."
            return style.write(figure, theme, text)
        axes = figure.subplots()
        style.style_axes(
            axes, theme, "false positive rate", "true positive rate"
        )
        axes.fill_between(fpr, tpr, color=theme.first, alpha=0.1, lw=0)
        axes.plot([0, 1], [0, 1], color=theme.muted, ls="--", label="chance")
        axes.plot(fpr, tpr, color=theme.first, lw=2, label=task + named)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        style.add_legend(axes, theme, loc="lower right", reverse=True)

    return Plot(
        "roc",
        f"ROC of {task}, {split} rows",
        "True positive rate against false positive rate over all thresholds; "
        "the further above the diagonal, the better the ranking."
        + left_out(predictions),
        draw,
    )


def gain(predictions: Predictions, task: str, split: str) -> Plot:
    """Returns a plot of cumulative gain and lift by share of the rows."""
    labels, logits, weights = curves.drawable(predictions)
    if labels.any():
        rows, gains = curves.thin_curve(
            *curves.gain_curve(labels, logits, weights)
        )
        rate = np.average(labels, weights=weights)
        # The lift of the first few rows is noise.
        steady = rows >= min(0.005, rows[-1])

    def draw(figure, theme):
        if not labels.any():
            text = "Gain and lift need positive rows; there are none."
            return style.write(figure, theme, text)
        upper, lower = figure.subplots(2, 1, sharex=True)
        style.style_axes(upper, theme, "", "gain")
        style.style_axes(
            lower, theme, "share of rows, highest scores first", "lift"
        )
        upper.plot(
            [0, rate, 1], [0, 1, 1], color=theme.second, lw=1.2, ls=":",
            label="perfect",
        )  # fmt: skip
        upper.plot(rows, gains, color=theme.first, lw=2, label="model")
        upper.plot([0, 1], [0, 1], color=theme.muted, ls="--", label="chance")
        upper.set(xlim=(-0.01, 1.01), ylim=(-0.02, 1.04))
        lift = gains[steady] / rows[steady]
        lower.fill_between(rows[steady], 1, lift, color=theme.first, alpha=0.1)
        lower.plot(rows[steady], lift, color=theme.first, lw=2)
        lower.axhline(1, color=theme.muted, ls="--")
        lower.set_ylim(0, 1.1 * max(lift.max(), 1))
        style.add_legend(upper, theme, loc="lower right")

    return Plot(
        "gain",
        f"Gain and lift of {task}, {split} rows",
        "Gain is the share of all positives among the rows with the highest "
        "scores; lift is gain over the share of rows, 1 for a random order."
        + left_out(predictions),
        draw,
    )


def histogram(predictions: Predictions, task: str, split: str) -> Plot:
    """Returns a plot of the logit density of positives and of negatives."""
    labels, logits, weights = curves.drawable(predictions)
    if len(logits):
        low, high = np.quantile(logits, (0.0005, 0.9995))
        apart = 1e-6 * (1 + abs(low))
        if high - low < apart:
            low, high = low - 1e5 * apart, high + 1e5 * apart
        # Rice's rule for the rarer label, so that few rows do not look spiky.
        rarer = min(n for n in (labels.sum(), (1 - labels).sum()) if n > 0)
        num_bins = int(np.clip(2 * rarer ** (1 / 3), 12, 60))
        edges = np.linspace(low, high, num_bins + 1)

    def draw(figure, theme):
        if not len(logits):
            return style.write(figure, theme, "There are no rows to draw.")
        axes = figure.subplots()
        style.style_axes(axes, theme, "logit", "density")
        for label, color in ((0, theme.second), (1, theme.first)):
            mine = labels == label
            mass = weights[mine].sum()
            if mass == 0:
                continue
            height, _ = np.histogram(logits[mine], edges, weights=weights[mine])
            height = height / mass / np.diff(edges)
            axes.stairs(height, edges, fill=True, color=color, alpha=0.3)
            axes.stairs(height, edges, color=color, lw=1.6, label=f"{label}")
        axes.set(xlim=(low, high))
        axes.set_ylim(bottom=0)
        style.probability_axis(axes, theme, low, high)
        style.add_legend(axes, theme, loc="best", title="label")

    return Plot(
        "scores",
        f"Scores of {task} by label, {split} rows",
        "Densities of the logits of rows labelled 1 and 0; the less they "
        "overlap, the better the model separates them. The upper axis gives "
        "the probability." + left_out(predictions),
        draw,
    )


def importance(measured: dict[str, Any], task: str) -> Plot:
    """Returns a plot of the ten features that matter most to a task."""
    features = measured["tasks"][task]
    shown = features[:MOST_FEATURES][::-1]

    def draw(figure, theme):
        axes = figure.subplots()
        style.style_axes(axes, theme, "increase of LogLoss if permuted", "")
        axes.grid(False, axis="y")
        places = range(len(shown))
        axes.barh(
            places,
            [each["mean"] for each in shown],
            xerr=[1.96 * each["error"] for each in shown],
            color=theme.first,
            alpha=0.75,
            error_kw={"ecolor": theme.ink, "lw": 1.2, "capsize": 3},
        )
        axes.set_yticks(
            places, [style.short(each["feature"]) for each in shown],
            parse_math=False, color=theme.ink,
        )  # fmt: skip
        axes.locator_params(axis="x", nbins=6)

    more = len(features) - len(shown)
    return Plot(
        "importance",
        f"What matters to {task}, {measured['split']} rows",
        "Increase of LogLoss when a feature's values are permuted among "
        f"{measured['rows']:,} held-out rows, the mean of "
        f"{measured['repeats']} permutations with its 95% interval over the "
        "rows. Features that say the same share their importance."
        + f" {more} more {'is' if more == 1 else 'are'} in metrics.json."
        * (more > 0),
        draw,
    )


def left_out(predictions):
    """Returns a sentence on rows that cannot be drawn, "" if none."""
    rows = int((~np.isfinite(predictions.logits)).sum())
    return f" Omitted: {rows} rows with a logit that is not finite." * (
        rows > 0
    )
