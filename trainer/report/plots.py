"""Draws the report's plots with matplotlib's object interface.

pyplot is not used, so drawing needs no display and leaves no global state.
"""

import dataclasses
import io
from collections.abc import Callable

import numpy as np

from trainer.report import curves, style
from trainer.report.curves import Predictions

LOW_BASE_RATE = 0.1  # below it, axes of rates are logarithmic


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot: file name, title, caption and drawing function.

    Args:
        name: first part of the file name, such as "roc".
        title: short title.
        caption: one sentence on how to read it.
        draw: draws on an empty matplotlib figure in the theme's colors.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., None]


def render(plot: Plot, theme: style.Theme) -> bytes:
    """Returns the plot as PNG bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(6, 4.5), dpi=160, facecolor=theme.paper, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    plot.draw(figure, theme)
    # A "$" in a user's name must not start a formula.
    figure.suptitle(
        plot.title, color=theme.ink, fontsize=12.5, parse_math=False
    )
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def learning_curves(
    log: dict[str, list[dict]], task: str, best_step: float | None
) -> Plot:
    """Returns a plot of train and valid loss, and valid AUC, by step."""
    train, valid = log.get("train", []), log.get("valid", [])
    train_steps, loss = curves.series(train, "loss")
    valid_steps, logloss = curves.series(valid, task, "logloss")
    auc_steps, auc = curves.series(valid, task, "auc")
    panels = [
        name
        for name, steps in (
            ("loss", [*train_steps, *valid_steps]),
            ("valid AUC", auc_steps),
        )
        if len(steps)
    ]

    tasks = {
        name
        for record in valid
        for name, value in record.items()
        if isinstance(value, dict)
    }
    # The training loss is the sum over tasks.
    train_label = "train loss" + (", all tasks" if len(tasks) > 1 else "")

    def draw(figure, theme):
        if not panels:
            return style.write(
                figure, theme, "No metrics were logged in this run."
            )
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
        line = {"color": theme.second, "lw": 1.8, "marker": "o", "ms": 3.5}
        for name, axes in zip(panels, rows[:, 0], strict=True):
            style.style_axes(axes, theme, "", name)
            if name == "loss":
                _draw_loss(axes, theme, train_steps, loss, train_label)
                if len(valid_steps):
                    line["label"] = "valid LogLoss"
                    axes.plot(valid_steps, logloss, **line)
            else:
                at = auc_steps == best_step
                line["label"] = "valid AUC"
                axes.plot(auc_steps, auc, **line)
                axes.plot(auc_steps[at], auc[at], "*", ms=13, color=theme.ink)
            _mark_step(axes, theme, best_step)
        rows[-1, 0].set_xlabel("step")

    return Plot(
        "learning",
        f"Learning curves of {task}",
        "Training loss per step (pale) with its running mean, and LogLoss and "
        "AUC on the validation rows; the dashed line is the best checkpoint, "
        "which is evaluated.",
        draw,
    )


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
        + _left_out(predictions),
        draw,
    )


def calibration(predictions: Predictions, task: str, split: str) -> Plot:
    """Returns a plot of observed rates against mean predictions, in bins."""
    labels, logits, weights = curves.drawable(predictions)
    if len(labels):
        bins = curves.calibration_bins(labels, curves.sigmoid(logits), weights)
        log_axes = np.average(labels, weights=weights) < LOW_BASE_RATE

    def draw(figure, theme):
        if not len(labels):
            return style.write(figure, theme, "There are no rows to draw.")
        axes = figure.subplots()
        style.style_axes(axes, theme, "mean prediction", "observed rate")
        floor, top = _rate_limits(bins, log_axes)
        limits = np.array([floor, top])
        axes.plot(limits, limits, color=theme.muted, ls="--", label="exact")
        if log_axes:
            style.log_axes(axes, top / floor)
        observed = bins.observed.clip(floor)
        low = bins.low.clip(floor)
        axes.vlines(bins.predicted, low, bins.high, theme.first, alpha=0.5)
        seen = bins.observed >= floor
        axes.plot(
            bins.predicted[seen], observed[seen], "o", color=theme.first,
            ms=5, label="bin, with its 95% interval",
        )  # fmt: skip
        if not seen.all():
            axes.plot(
                bins.predicted[~seen], observed[~seen], "v", ms=7,
                mfc="none", color=theme.first, clip_on=False,
                label="bin without positives",
            )  # fmt: skip
        axes.set(xlim=limits, ylim=limits)
        style.add_legend(axes, theme, loc="upper left")

    return Plot(
        "calibration",
        f"Calibration of {task}, {split} rows",
        "Rows sorted by prediction into up to 20 bins of equal weight; a bin "
        "on the dashed line was positive as often as predicted, one below it "
        "less often." + _left_out(predictions),
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
        "the probability." + _left_out(predictions),
        draw,
    )


def _draw_loss(axes, theme, steps, loss, label):
    if not len(steps):
        return
    mean = curves.smooth(loss, max(1, len(loss) // 40))
    axes.plot(steps, loss, color=theme.first, alpha=0.25, lw=0.8)
    axes.plot(steps, mean, color=theme.first, lw=1.8, label=label)


def _mark_step(axes, theme, step):
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=6)
    if step is not None:
        label = f"checkpoint, step {step:,.0f}"
        axes.axvline(step, color=theme.muted, lw=1.2, ls="--", label=label)
    style.add_legend(axes, theme, loc="best")


def _left_out(predictions):
    """Returns a sentence on rows that cannot be drawn, "" if none."""
    rows = int((~np.isfinite(predictions.logits)).sum())
    return f" Omitted: {rows} rows with a logit that is not finite." * (
        rows > 0
    )


def _rate_limits(bins, log_axes):
    values = np.concatenate([bins.predicted, bins.observed])
    if not log_axes:
        return 0.0, min(1.0, 1.08 * max(values.max(), bins.high.max()))
    floor = 0.6 * max(values[values > 0].min(initial=1.0), 1e-9)
    return floor, min(1.0, 1.6 * max(values.max(), bins.high.max()))
