"""Draws which flags mattered."""

from trainer.report import style
from wukong_tf import files

DRAWS = "matplotlib.figure"  # the module that plots need


def write(path: str, model: str, importance: dict[str, float]) -> None:
    """Writes a bar chart of the importance of each flag as PNG.

    Args:
        path: path of the file.
        model: name of the model.
        importance: share of each flag, the largest first.
    """

    def draw(figure, theme):
        axes = figure.subplots()
        style.style_axes(axes, theme, "share (PED-ANOVA)", "")
        axes.barh(
            list(importance), list(importance.values()), color=theme.first
        )
        axes.invert_yaxis()

    size = (6, 1.2 + 0.3 * len(importance))
    drawn = style.png(draw, style.LIGHT, f"What mattered for {model}", size)
    files.write_bytes(path, drawn)
