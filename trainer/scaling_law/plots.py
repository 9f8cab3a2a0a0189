"""Plots of a ladder, on log axes."""

from collections.abc import Iterator, Sequence

import numpy as np

from trainer.report import style
from trainer.scaling_law import fit
from trainer.scaling_law.analysis import (
    BASE,
    Analysis,
    flop,
    last_window,
    loss_of,
    parameters,
    points,
)
from trainer.scaling_law.frontier import curves
from trainer.scaling_law.records import Record, by_model

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
    models = by_model(records)
    compared = {a.model: a.differences for a in analyses if a.differences}
    looks = {
        model: {"color": color, "marker": marker}
        for model, color, marker in zip(
            models, COLORS * 2, MARKERS * 2, strict=False
        )
    }
    ladders = {m: mine for m, mine in models.items() if m not in compared}
    loss, of_run = "LogLoss", loss_of(records)
    if analyses[0].known_floor:
        loss = "excess LogLoss"
    flop_label = "training FLOP per example"

    def laws(x, fits):
        def draw(axes):
            for model, mine in ladders.items():
                _law(axes, model, points(mine, x, of_run), fits[model], looks)

        return draw

    def relative(axes):
        for model, mine in ladders.items():
            if listed := points(mine, flop, last_window(records)):
                _points(axes, listed, model, looks[model], ls="-")

    def rows(axes):
        for model, mine in models.items():
            _curves(axes, model, curves(mine), looks[model])
        _log_y(axes)

    for model, found in compared.items():
        yield f"differences_{model}", _differences(model, found)
    title = "Loss on valid rows; the larger the rung, the darker"
    yield "rows", _png(rows, "train rows", loss, title)
    if not ladders:
        return
    fits = {each.model: each.of_flop for each in analyses}
    yield "flop", _png(laws(flop, fits), flop_label, loss)
    fits = {each.model: each.of_parameters for each in analyses}
    yield (
        "parameters",
        _png(laws(parameters, fits), "dense parameters", loss),
    )
    if any(r.last_window_logloss is not None for r in records):
        title = "LogLoss on the last window of train rows"
        label = "% above the cheapest rung"
        yield "last_window", _png(relative, flop_label, label, title)


def _differences(model, found) -> bytes:
    """Returns a plot of how rungs differ from the base, the best on top."""

    def on_figure(figure, theme):
        axes = figure.subplots()
        style.style_axes(axes, theme, f"% of the LogLoss of {BASE}", "")
        listed = sorted(found, key=lambda each: -each.percent)
        at = range(len(listed))
        half = [0.0 if d.half is None else d.half for d in listed]
        axes.axvline(0, color=theme.muted, lw=1)
        axes.errorbar(
            [d.percent for d in listed], at, xerr=half, fmt="o", capsize=3,
            color=COLORS[0],
        )  # fmt: skip
        axes.set_yticks(at, [style.short(d.rung) for d in listed])
        # One wide interval must not hide the others.
        ends = np.abs([d.percent for d in listed]) + half
        most = min(ends.max(), 4 * np.median(ends))
        axes.set_xlim(-1.1 * most, 1.1 * most)
        for row, each in zip(at, listed, strict=True):
            if abs(each.percent) > most:
                side = np.sign(each.percent)
                axes.text(
                    side * most, row + 0.15, f"{each.percent:+.2f}",
                    color=theme.ink, ha="right" if side > 0 else "left",
                )  # fmt: skip

    title = f"{model}: differences from {BASE}, with 95 % intervals"
    return style.png(on_figure, style.LIGHT, title, SIZE)


def _png(draw, x_label, y_label, title="") -> bytes:
    """Returns a plot that `draw` draws on axes; x is logarithmic."""

    def on_figure(figure, theme):
        from matplotlib import ticker

        axes = figure.subplots()
        style.style_axes(axes, theme, x_label, y_label)
        draw(axes)
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        subs = (1.0, 3.0) if high / low > 30 else (1.0, 2.0, 3.0, 5.0)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=subs))
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        if axes.get_legend_handles_labels()[0]:
            style.add_legend(
                axes,
                theme,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.12),  # below, as points may be anywhere
                ncols=2,
                handlelength=1.2,
                columnspacing=1.2,
            )

    title = title or f"{y_label[0].upper()}{y_label[1:]} against {x_label}"
    return style.png(on_figure, style.LIGHT, title, SIZE)


def _points(axes, listed, label, look, ls=""):
    """Draws the seeds of each rung, small and pale, and their means.

    Bars are the means' 95 % intervals by Student's t, with a standard
    deviation common to the model's rungs.
    """
    color = look["color"]
    for x, ys in listed:
        axes.plot([x] * len(ys), ys, ".", ms=6, alpha=0.5, color=color)
    means = [np.mean(ys) for _, ys in listed]
    x = [x for x, _ in listed]
    axes.plot(x, means, ls=ls, ms=7, lw=1.4, label=label, **look)
    deviation, freedom = fit.pooled(listed)
    if freedom:
        half = fit.t_quantile(freedom) * deviation
        bars = [half / len(ys) ** 0.5 for _, ys in listed]
        axes.errorbar(x, means, bars, fmt="none", color=color, capsize=3, lw=1)


def _law(axes, model, listed, law, looks):
    """Draws the rungs above the floor, and the law if there is one."""
    label = model
    if law is not None and np.isfinite(law.exponent):
        label += f": exponent {law.exponent:.2g}"
        if "exponent" in law.intervals:
            low, high = law.intervals["exponent"]
            label += f" ({low:.2g} to {high:.2g})"
        ends = [x for x, _ in listed]
        x = np.geomspace(min(ends), max(ends), 50)
        axes.plot(x, law(x), color=looks[model]["color"], lw=1.2)
    listed = [(x, ys) for x, ys in listed if np.mean(ys) > 0]
    if listed:
        _points(axes, listed, label, looks[model])
    _log_y(axes)


def _curves(axes, model, drawn, look):
    """Draws the loss of each rung by rows; the larger, the darker."""
    for at, (_, rows, loss) in enumerate(drawn, start=1):
        axes.plot(
            rows,
            loss,
            lw=1.4,
            ms=3.5,
            alpha=0.3 + 0.7 * at / len(drawn),
            label=model if at == len(drawn) else None,
            **look,
        )


def _log_y(axes):
    """Makes y logarithmic, with plain ticks if it spans less than a decade."""
    from matplotlib import ticker

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if high / low < 10:
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.4g}"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
