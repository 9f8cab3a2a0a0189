"""Draws which flags mattered."""

from trainer.report import style
from wukong_tf import files

DRAWS = "matplotlib.figure"  # the module that plots need


def write(path: str, model: str, importance: dict[str, float]) -> None:
    """Writes a bar chart of the importance of each flag as PNG.

    pyplot is not used, so drawing needs no display.

    Args:
        path: path of the file.
        model: name of the model.
        importance: share of each flag, the largest first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    theme = style.LIGHT
    figure = Figure(
        figsize=(6, 1.2 + 0.3 * len(importance)),
        dpi=160,
        facecolor=theme.paper,
        layout="constrained",
    )
    axes = figure.subplots()
    style.style_axes(axes, theme, "share (PED-ANOVA)", "")
    axes.barh(list(importance), list(importance.values()), color=theme.first)
    axes.invert_yaxis()
    figure.suptitle(f"What mattered for {model}", color=theme.ink, fontsize=12)
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        FigureCanvasAgg(figure).print_png(file)
