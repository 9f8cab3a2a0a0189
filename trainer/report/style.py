"""Style of the report's plots: colors, axes, ticks and legends."""

import dataclasses
import io
from collections.abc import Callable

import numpy as np

PROBABILITY_TICKS = (0.5, 0.1, 0.9, 0.01, 0.99, 1e-4, 0.9999, 1e-6)

# Place of a legend in one line above the axes.
ABOVE = {
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "ncols": 4,
    "borderaxespad": 0.1,
}


@dataclasses.dataclass(frozen=True)
class Theme:
    """Colors of a plot."""

    paper: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str


LIGHT = Theme("#ffffff", "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#d9570b")
DARK = Theme("#171c26", "#e5e7eb", "#9ca3af", "#333b4a", "#6ea8fe", "#fb9a4b")


def png(
    draw: Callable[..., None],
    theme: Theme,
    title: str,
    size: tuple[float, float] = (6, 4.5),
) -> bytes:
    """Returns a plot as PNG bytes; pyplot is not used, nor a display.

    Args:
        draw: draws on an empty matplotlib figure in the theme's colors.
        theme: the colors.
        title: short title.
        size: inches. Defaults to (6, 4.5).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=size, dpi=160, facecolor=theme.paper, layout="constrained"
    )
    canvas = FigureCanvasAgg(figure)
    draw(figure, theme)
    # A "$" in a user's name must not start a formula.
    figure.suptitle(title, color=theme.ink, fontsize=12.5, parse_math=False)
    out = io.BytesIO()
    canvas.print_png(out)
    return out.getvalue()


def log_axes(axes, span):
    """Sets log axes with plain numbers; `span` is the ratio of their ends."""
    from matplotlib import ticker

    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        subs = (1.0,) if span > 30 else (1.0, 2.0, 5.0)
        axis.set_major_locator(ticker.LogLocator(subs=subs))
        axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


def count_axis(axis):
    """Labels an axis of counts with plain numbers."""
    from matplotlib import ticker

    axis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def probability_axis(axes, theme, low, high):
    """Adds an upper axis with the probabilities of the logits."""
    ticks: dict[float, str] = {}
    for probability in PROBABILITY_TICKS:
        at = np.log(probability / (1 - probability))
        apart = all(abs(at - other) > 0.09 * (high - low) for other in ticks)
        if low < at < high and apart:
            ticks[at] = f"{probability:g}"
    upper = axes.twiny()
    style_axes(upper, theme, "", "")
    upper.grid(False)
    upper.spines["top"].set_visible(True)
    upper.set_xlim(low, high)
    upper.set_xticks(list(ticks), list(ticks.values()))


def style_axes(axes, theme, x_label, y_label):
    """Sets labels, ticks, grid and spines in the theme's colors."""
    axes.set_facecolor(theme.paper)
    axes.set_xlabel(x_label, color=theme.ink, fontsize=12)
    axes.set_ylabel(y_label, color=theme.ink, fontsize=12)
    axes.tick_params(colors=theme.muted, labelsize=11, which="both")
    axes.grid(color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_color(theme.muted)
        spine.set_visible(side in ("left", "bottom"))


def add_legend(axes, theme, **options):
    """Adds a legend with an opaque background."""
    legend = axes.legend(
        facecolor=theme.paper, edgecolor="none", fontsize=10, **options
    )
    legend.get_title().set_color(theme.ink)
    for text in legend.get_texts():
        text.set_color(theme.ink)
        text.set_parse_math(False)


def short(text, longest=28):
    """Returns a text that fits a tick's label."""
    text = " ".join(str(text).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"


def write(figure, theme, text):
    """Draws a sentence if a plot has nothing to show."""
    axes = figure.subplots()
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, color=theme.muted, ha="center", va="center",
        wrap=True, fontsize=12,
    )  # fmt: skip
