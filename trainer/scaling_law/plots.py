"""Plots of a ladder, on log axes."""

from collections.abc import Iterator, Sequence

import numpy as np

from trainer.report import style
from trainer.scaling_law import fit
from trainer.scaling_law.analysis import (
    Analysis,
    by_model,
    flop,
    last_window_percent,
    loss_of,
    parameters,
    points,
)
from trainer.scaling_law.frontier import curves
from trainer.scaling_law.records import Record

COLORS = (
    *("#2563eb", "#d9570b", "#15803d", "#9333ea", "#b91c1c", "#0e7490"),
    "#6b7280",
)
MARKERS = "osD^vPX"
SIZE = (7.0, 5.0)


def pages(
    records: Sequence[Record], analyses: Sequence[Analysis]
) -> Iterator[tuple[str, bytes]]:
    """Yields the name and PNG of each plot.

    Args:
        records: runs of the models of one ladder.
        analyses: the analysis of each model.
    """
    known = analyses[0].known_floor
    loss = "excess LogLoss" if known else "LogLoss"
    laws = {a.model: (a.of_flop, a.of_parameters) for a in analyses}
    for name, label, x, at in (
        ("flop", "training FLOP per example", flop, 0),
        ("parameters", "dense parameters", parameters, 1),
    ):
        mine = {
            model: (points(own, x, loss_of(records)), laws[model][at])
            for model, own in sorted(by_model(records).items())
        }
        title = f"{loss} against {label}"
        yield (
            name,
            style.png(_laws(mine, label, loss), style.LIGHT, title, SIZE),
        )
    title = f"{loss} against rows"
    yield "rows", style.png(_rows(records, loss), style.LIGHT, title, SIZE)
    if relative := last_window_percent(records):
        title = "LogLoss on the last window, relative"
        yield (
            "last_window",
            style.png(_relative(relative), style.LIGHT, title, SIZE),
        )


def _looks(models) -> dict[str, dict[str, str]]:
    return {
        model: {
            "color": COLORS[at % len(COLORS)],
            "marker": MARKERS[at % len(MARKERS)],
        }
        for at, model in enumerate(sorted(models))
    }


def _axes(figure, theme, x_label, y_label):
    axes = figure.subplots()
    style.style_axes(axes, theme, x_label, y_label)
    return axes


def _points(axes, mine, look, label):
    """Draws means, with 95 % intervals over seeds by Student's t."""
    deviation, freedom = fit.pooled(mine)
    x = [at for at, _ in mine]
    y = [np.mean(ys) for _, ys in mine]
    bars = None
    if freedom:
        half = fit.t_quantile(freedom) * deviation
        bars = [half / len(ys) ** 0.5 for _, ys in mine]
    axes.errorbar(
        x, y, bars, ls="", ms=6, capsize=3, lw=1.4, label=label, **look
    )


def _laws(mine, x_label, y_label):
    def draw(figure, theme):
        axes = _axes(figure, theme, x_label, y_label)
        looks = _looks(mine)
        for model, (listed, law) in mine.items():
            label = model
            if law is not None and np.isfinite(law.exponent):
                low, high = law.intervals["exponent"]
                label += (
                    f": exponent {law.exponent:.3g} ({low:.2g} to {high:.2g})"
                )
                x = np.geomspace(listed[0][0], listed[-1][0], 50)
                axes.plot(x, law(x), color=looks[model]["color"], lw=1.2)
            listed = [(x, ys) for x, ys in listed if np.mean(ys) > 0]
            if listed:
                _points(axes, listed, looks[model], label)
        _log(axes, [np.mean(ys) for each, _ in mine.values() for _, ys in each])
        style.add_legend(axes, theme, loc="best")

    return draw


def _log(axes, values):
    """Sets log axes; plain ticks of y where it spans less than a decade."""
    from matplotlib import ticker

    axes.set(xscale="log", yscale="log")
    values = [value for value in values if value > 0]
    if values and max(values) / min(values) < 10:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.4g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())


def _rows(records, loss):
    def draw(figure, theme):
        axes = _axes(figure, theme, "rows", loss + " on valid rows")
        models = by_model(records)
        looks = _looks(models)
        values: list[float] = []
        for model, mine in sorted(models.items()):
            drawn = curves(mine)
            for at, (_, rows, mean) in enumerate(drawn):
                up = mean > 0
                values += list(mean[up])
                axes.plot(
                    rows[up],
                    mean[up],
                    lw=1.4,
                    ms=3.5,
                    # The larger the rung, the darker its line.
                    alpha=0.3 + 0.7 * (at + 1) / len(drawn),
                    label=f"{model}, {len(drawn)} rungs, the largest darkest"
                    if at + 1 == len(drawn)
                    else None,
                    **looks[model],
                )
        _log(axes, values)
        style.add_legend(axes, theme, loc="best")

    return draw


def _relative(relative):
    def draw(figure, theme):
        axes = _axes(
            figure, theme, "training FLOP per example",
            "LogLoss, % above the cheapest rung's",
        )  # fmt: skip
        looks = _looks(relative)
        for model, mine in sorted(relative.items()):
            _points(axes, mine, looks[model], model)
            axes.plot(
                [x for x, _ in mine],
                [np.mean(ys) for _, ys in mine],
                color=looks[model]["color"],
                lw=1,
            )
        axes.set_xscale("log")
        style.add_legend(axes, theme, loc="best")

    return draw
