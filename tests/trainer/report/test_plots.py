"""The pictures, read back from matplotlib's objects or the PNG."""

import io

import numpy as np
import pytest

from trainer.report import learning, plots, reliability, style
from trainer.report.files import Predictions

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def some_predictions(rows=300):
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1.5, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    return Predictions(labels.astype("float32"), logits.astype("float32"))


def draw_axes(plot):
    from matplotlib.figure import Figure

    figure = Figure()
    plot.draw(figure, style.LIGHT)
    return figure.axes


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        ([], []),
        ([0, 0, 0], [-9, -9, -8]),
        ([1, 1], [3, 3]),
        ([0, 1], [np.nan, np.nan]),
        ([0, 1, 0], [-800, 800, 0]),
    ],
)
def test_odd_splits_still_give_pictures(labels, logits):
    bad_formula = r"a$\frac$"
    rows = Predictions(np.array(labels, "float32"), np.array(logits, "float32"))
    shown = [
        plots.roc(rows, bad_formula, "test", None),
        plots.gain(rows, bad_formula, "test"),
        reliability.plot(rows, bad_formula, "test"),
        plots.histogram(rows, bad_formula, "test"),
    ]
    for plot in shown:
        png = plots.render(plot, style.LIGHT)
        assert png.startswith(PNG_MAGIC)


def test_learning_curves_mark_the_checkpoint():
    log: dict[str, list[dict]] = {
        "train": [{"step": s, "loss": 1 / s} for s in range(10, 310, 10)],
        "valid": [
            {"step": s, "click": {"auc": s / 400, "logloss": 0.5}}
            for s in (100, 200, 300)
        ],
    }
    plot = learning.plot(log, "click", 200)
    top, bottom = draw_axes(plot)
    for axes in (top, bottom):
        marks = [list(line.get_xdata()) for line in axes.lines]
        assert [200, 200] in marks
    stars = [line for line in bottom.lines if line.get_marker() == "*"]
    assert [list(star.get_xydata()[0]) for star in stars] == [[200, 200 / 400]]
    labels = [line.get_label() for line in top.lines]
    assert "train loss" in labels and "valid LogLoss" in labels
    for axes in (top, bottom):
        box = axes.get_legend().get_window_extent()
        assert box.y0 >= axes.get_window_extent().y1, "covers the curves"


def test_roc_legend_has_the_given_auc_not_one_of_its_own():
    rows = some_predictions()
    (axes,) = draw_axes(plots.roc(rows, "click", "test", 0.123456))
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "click (AUC 0.1235)" in texts


@pytest.mark.parametrize(("share", "scale"), [(0.02, "log"), (0.5, "linear")])
def test_calibration_axes_are_log_where_positives_are_rare(share, scale):
    labels = (np.arange(500) < 500 * share).astype("float32")
    logits = np.linspace(0, -6, 500).astype("float32")
    rows = Predictions(labels, logits)
    upper, lower = draw_axes(reliability.plot(rows, "click", "test"))
    assert (upper.get_xscale(), upper.get_yscale()) == (scale, scale)
    assert lower.get_xscale() == scale
    (bars,) = lower.patches
    assert bars.get_data().values.sum() == 500


def test_gain_and_lift_are_drawn_between_chance_and_perfect():
    rows = some_predictions(2000)
    upper, lower = draw_axes(plots.gain(rows, "click", "test"))
    lines = {line.get_label(): line.get_xydata() for line in upper.lines}
    x, y = lines["model"].T
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    rate = rows.labels.mean()
    np.testing.assert_allclose(lines["perfect"], [[0, 0], [rate, 1], [1, 1]])
    assert (y <= np.minimum(x / rate, 1) + 1e-6).all()
    x, y = lower.lines[0].get_xydata().T
    assert x[0] >= 0.005 and (x[-1], y[-1]) == (1, 1)


def test_the_ten_features_that_matter_most_are_drawn():
    features = [
        {"feature": f"f{n}$", "mean": 1 / (n + 1), "error": 0.01}
        for n in range(12)
    ]
    measured = {
        "split": "test",
        "rows": 80,
        "repeats": 3,
        "tasks": {"click": features},
    }
    plot = plots.importance(measured, "click")
    assert "80 held-out rows" in plot.caption and "2 more" in plot.caption
    (axes,) = draw_axes(plot)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"f{n}$" for n in reversed(range(10))]
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [1 / n for n in range(10, 0, -1)])
    (bars,) = axes.collections
    ends = [line[:, 0] for line in bars.get_segments()]
    np.testing.assert_allclose(np.diff(ends)[:, 0], 2 * 1.96 * 0.01)


def test_score_histograms_have_area_one():
    rows = some_predictions(4000)
    axes = draw_axes(plots.histogram(rows, "click", "test"))[0]
    stairs = [patch.get_data() for patch in axes.patches]
    assert len(stairs) == 4  # a fill and an outline for each label
    for values, edges, _ in stairs:
        # The 0.1% of rows beyond the axis is all that may be missing.
        assert 0.995 <= np.sum(values * np.diff(edges)) <= 1 + 1e-9


def test_pictures_have_the_theme_and_the_same_size():
    from PIL import Image

    plot = learning.plot({}, "click", None)
    corners = []
    for theme in (style.LIGHT, style.DARK):
        picture = Image.open(io.BytesIO(plots.render(plot, theme)))
        assert picture.size == (6 * 160, 4.5 * 160)
        corner = picture.convert("RGB").crop((0, 0, 1, 1))
        corners.append("#" + corner.tobytes().hex())
    assert corners == [
        style.LIGHT.paper, style.DARK.paper,
    ]  # fmt: skip
