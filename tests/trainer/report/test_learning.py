"""The log, smoothing and learning curves, read back."""

import matplotlib.figure
import numpy as np
import pytest

from trainer.report import learning, style


@pytest.mark.parametrize("window", [1, 2, 3, 8, 99])
def test_smooth_is_the_mean_of_finite_neighbours(window):
    values = np.random.default_rng(0).normal(size=20)
    values[[4, 9, 10, 11]] = [np.inf, np.nan, np.nan, np.nan]
    got = learning.smooth(values, window)
    for place in range(20):
        first = max(0, place - window // 2)
        near = values[first : place + (window - 1) // 2 + 1]
        near = near[np.isfinite(near)]
        expected = near.mean() if len(near) else np.nan
        assert got[place] == pytest.approx(expected, nan_ok=True)


def test_log_skips_torn_lines_and_keeps_the_later_of_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b'{"step": 20, "kind": "train", "loss": 2}\n'
        b'{"step": 10, "kind": "train", "loss": 1}\n'
        b'{"step": 5, "kind": "tr{"step": 6, "kind": "train"}\n'
        b'[1]\n"text"\n{"kind": "train"}\n\xff\xfe\n'
        b'{"step": 20, "kind": "train", "loss": null}\n'
        b'{"step": 30, "kind": "valid", "click": {"auc": 0.75}}\n'
        b'{"step": 40, "kind": "valid", "cli'
    )
    log = learning.read_log(str(path))
    assert [r["step"] for r in log["train"]] == [10, 20]
    steps, loss = learning.series(log["train"], "loss")
    assert (list(steps), list(loss)) == ([10], [1])
    steps, auc = learning.series(log["valid"], "click", "auc")
    assert (list(steps), list(auc)) == ([30], [0.75])
    assert len(learning.series(log["valid"], "buy", "auc")[0]) == 0
    assert learning.read_log(str(tmp_path / "absent")) == {}


def records(*ranks):
    return [
        {"step": 10 * (at + 1), "kind": "stable_rank", **each}
        for at, each in enumerate(ranks)
    ]


def drawn(log):
    """The lines of the plot of stable ranks: x, y and label."""
    figure = matplotlib.figure.Figure()
    learning.ranks(log, 10).draw(figure, style.LIGHT)
    (axes,) = figure.axes
    return [
        (list(line.get_xdata()), list(line.get_ydata()), line.get_label())
        for line in axes.lines
        if line.get_marker() == "o"
    ]


def test_stable_ranks_are_drawn_where_they_are_defined():
    log = records(
        {"embeddings": 4.0, "layer_1": 3.0, "layer_2": None},
        {"embeddings": 5.0, "layer_1": None, "layer_2": None},
    )
    assert drawn({"stable_rank": log}) == [
        ([10, 20], [4, 5], "embeddings"),
        ([10], [3], "layer 1"),
    ]


def test_a_legend_names_the_ends_of_many_layers():
    names = [f"layer_{index}" for index in range(1, 21)]
    log = records({"embeddings": 9.0} | dict.fromkeys(names, 2.0))
    labels = [label for _, _, label in drawn({"stable_rank": log})]
    shown = [label for label in labels if not label.startswith("_")]
    assert len(labels) == 21
    assert shown == ["embeddings", "layer 1", "layer 20"]


def test_no_stable_ranks_no_plot():
    assert learning.ranks({}, None) is None
    log = records({"embeddings": None}, {"layer_1": "x"})
    assert learning.ranks({"stable_rank": log}, None) is None
