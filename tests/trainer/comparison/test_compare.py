"""Runs side by side: their metrics, differences, intervals and refusals."""

import html.parser
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wukong_tf
from tests.metrics.test_bootstrap import by_loops, rows_drawn
from tests.programs import call
from tests.worlds import clicks, small_runs
from trainer import compare
from trainer.checkpoints import run_directory
from trainer.comparison import figures, held_out
from trainer.comparison.page import differences_plot
from trainer.data.content import Contents
from trainer.data.held_out import open_files
from trainer.report import plots, style
from wukong_tf import runs
from wukong_tf.config import (
    FactorizationMachineConfig,
    LogisticRegressionConfig,
)
from wukong_tf.metrics import metrics_of_rows
from wukong_tf.models import build_model

SEEDS = {"fm": 0, "fm_1": 1, "fm_2": 2, "logistic": 0}
RESAMPLES = 40


def write_run(run_dir: Path, log: str, config, seed: int):
    """A run with random weights, and the record of its held-out rows."""
    model = build_model(config)
    random = np.random.default_rng([seed, len(model.weights)])
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape) / 3)
    small_runs.write_run(run_dir, config, {1: model}, seed=seed)
    source = open_files([f"{log}/test.parquet"], clicks.SPEC)
    run_directory.write_held_out(str(run_dir), "test", source)
    contents = Contents({"test": source})
    run_directory.write_data(str(run_dir), contents.record())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Three seeds of one configuration, and another; no test changes them."""
    folder = tmp_path_factory.mktemp("compared")
    log = clicks.write_log(folder / "log")
    for name, seed in SEEDS.items():
        kind = FactorizationMachineConfig
        if name == "logistic":
            kind = LogisticRegressionConfig
        write_run(folder / name, log, kind(clicks.SPEC), seed)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    """A copy that a test may spoil, but for the log."""
    for name in ("fm", "logistic"):
        shutil.copytree(pristine / name, tmp_path / name)
    return tmp_path


def run(*arguments) -> int:
    return call(compare, *arguments)


@pytest.fixture(scope="module")
def compared(pristine):
    """The comparison of all runs: its content and page."""
    output = pristine / "comparison"
    paths = [pristine / name for name in SEEDS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "render", lambda *arguments: b"")
        options = (f"--output={output}", f"--resamples={RESAMPLES}")
        assert run(*paths, *options, "--seed=5", "--eval_batch_size=300") == 0
    content = json.loads((output / "comparison.json").read_text())
    return content, (output / "index.html").read_text()


@pytest.fixture(scope="module")
def rows(pristine):
    """Labels, weights, groups, and the logits of each run."""
    columns = clicks.columns(500, 2)
    logits = [
        np.asarray(wukong_tf.load_run(str(pristine / name))(columns)["click"])
        for name in SEEDS
    ]
    names = ("label", "importance", "user")
    return *(columns[name] for name in names), np.concatenate(logits, 1)


def test_each_run_has_the_metrics_of_its_scores(compared, rows):
    content, _ = compared
    labels, weights, groups, logits = rows
    assert [each["name"] for each in content["runs"]] == list(SEEDS)
    assert [each["seed"] for each in content["runs"]] == [*SEEDS.values()]
    found = content["tasks"]["click"]
    assert found["rows"] == len(labels)
    for place, metrics in enumerate(found["metrics"]):
        expected = by_loops(labels, logits[:, place], weights, groups)
        assert metrics == pytest.approx(expected, abs=1e-5)


def test_runs_that_differ_by_seed_are_one_group(compared):
    content, _ = compared
    assert [group["runs"] for group in content["groups"]] == [
        ["fm", "fm_1", "fm_2"], ["logistic"],
    ]  # fmt: skip
    task = content["tasks"]["click"]
    for name, spread in task["groups"][0]["metrics"].items():
        values = [each[name] for each in task["metrics"][:3]]
        assert spread["mean"] == pytest.approx(np.mean(values))
        middle = sum(values) / 3
        variance = sum((value - middle) ** 2 for value in values) / 2
        assert spread["deviation"] == pytest.approx(variance**0.5)
    alone = task["groups"][1]["metrics"]["auc"]
    assert alone == {"mean": task["metrics"][3]["auc"], "deviation": None}
    settings = [group["settings"] for group in content["groups"]]
    assert settings[0]["model"] == "fm"
    assert settings[1]["model"] == "logistic_regression"
    assert not {"seed", "features"} & settings[0].keys()


def test_intervals_are_those_of_resampled_groups(compared, rows):
    """The bootstrap by rows that are copied, and metrics without sums."""
    content, _ = compared
    assert (content["resampled"], content["resamples"]) == ("groups", RESAMPLES)
    labels, weights, groups, logits = rows
    random = np.random.default_rng(5)
    apart: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        drawn, of_draw = rows_drawn(groups, len(labels), random)
        each = [
            metrics_of_rows(labels[drawn], column, weights[drawn], of_draw)
            for column in logits[drawn].T
        ]
        for name in each[0]:
            first = np.mean([each[model][name] for model in range(3)])
            apart.setdefault(name, []).append(each[3][name] - first)
    assert content["tasks"]["click"]["groups"][0]["differences"] is None
    found = content["tasks"]["click"]["groups"][1]
    first = content["tasks"]["click"]["groups"][0]
    for name, difference in found["differences"].items():
        means = [g["metrics"][name]["mean"] for g in (found, first)]
        assert difference["difference"] == pytest.approx(means[0] - means[1])
        low, high = np.quantile(apart[name], (0.025, 0.975))
        assert difference["low"] == pytest.approx(low, abs=1e-5)
        assert difference["high"] == pytest.approx(high, abs=1e-5)


class Texts(html.parser.HTMLParser):
    """Collects tags and texts."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_page_has_the_figures_and_needs_no_other_file(compared):
    content, document = compared
    page = Texts(document)
    assert not {"script", "link", "iframe"} & page.tags
    assert "http:" not in document and "https:" not in document
    for text in (
        "4 runs on the same test rows", "Differences to fm and 2 more",
        "Settings that differ", "Group AUC",
    ):  # fmt: skip
        assert text in page.texts, text
    spread = content["tasks"]["click"]["groups"][0]["metrics"]["logloss"]
    assert f"{spread['mean']:.5f} ± {spread['deviation']:.5f}" in page.texts
    found = content["tasks"]["click"]["groups"][1]["differences"]["logloss"]
    ends = f"({found['low']:+.5f}\u00a0to\u00a0{found['high']:+.5f})"
    assert f"{found['difference']:+.5f} {ends}" in page.texts


def edit(run_dir: Path, name: str, **changes):
    path = run_dir / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def another_split(run_dir):
    edit(run_dir, runs.HELD_OUT, split="valid")


def another_content(run_dir):
    content = json.loads((run_dir / runs.DATA).read_text())
    content["files"]["test"][0]["outline"] = "9 bytes"
    (run_dir / runs.DATA).write_text(json.dumps(content))


def synthetic_rows(run_dir):
    rows = {"seed": 0, "tasks": ["click"], "rows": 9}
    edit(run_dir, runs.HELD_OUT, synthetic=rows)


def another_weight(run_dir):
    edit(run_dir, runs.FEATURES, weight=None)


def another_label(run_dir):
    edit(run_dir, runs.FEATURES, tasks=[{"label": "clicked"}])


def no_record(run_dir):
    (run_dir / runs.HELD_OUT).unlink()


def no_run(run_dir):
    shutil.rmtree(run_dir)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (another_split, "held out the valid split, not the test split"),
        (another_content, "content of test.parquet"),
        (synthetic_rows, "synthetic, seed 0, tasks ['click'], rows 9"),
        (another_weight, "weight column is None, not 'importance'"),
        (another_label, "tasks are"),
        (no_record, "held_out.json"),
        (no_run, "there is no such run"),
    ],
)
def test_runs_on_other_rows_are_refused_by_name(folder, capsys, spoil, words):
    spoil(folder / "logistic")
    output = folder / "comparison"
    paths = (folder / "fm", folder / "logistic")
    assert run(*paths, f"--output={output}") == 2
    said = capsys.readouterr().err
    assert words in said and str(paths[1]) in said
    assert not output.exists()


def test_rows_that_changed_since_are_refused(folder, capsys):
    for name in ("fm", "logistic"):
        another_content(folder / name)
    assert run(folder / "fm", folder / "logistic") == 2
    assert "is not the file that the run was" in capsys.readouterr().err


def test_runs_of_other_files_or_of_one_seed_are_not_one_group(folder):
    """Such as copies, and days with equal numbers of rows."""
    shutil.copytree(folder / "fm", folder / "copy")
    shutil.copytree(folder / "fm", folder / "day")
    path = folder / "day" / runs.DATA
    record = json.loads(path.read_text())
    entry = {"file": "a", "outline": "9 bytes of digest b", "sha256": None}
    record["files"]["train"] = [entry]
    path.write_text(json.dumps(record))
    config = folder / "day" / runs.CONFIG
    content = json.loads(config.read_text())
    content["training"]["seed"] = 7
    config.write_text(json.dumps(content))
    names = ("fm", "copy", "day")
    opened = held_out.open_runs([str(folder / name) for name in names])
    groups = figures.groups_of(opened)
    assert groups == [[0], [1], [2]]
    assert figures.settings_that_differ(opened, groups) == [
        {"train files": files} for files in ([], [], ["9 bytes of digest b"])
    ]
    seeds = [{**opened[0].config, "training": {"seed": s}} for s in (1, 2)]
    cold, warm = (replace(opened[0], config=seed) for seed in seeds)
    assert figures.groups_of([cold, warm]) == [[0, 1]]
    warm = replace(warm, init={"id": "a", "step": 3})
    assert figures.groups_of([cold, warm]) == [[0], [1]]
    shown = figures.settings_that_differ([cold, warm], [[0], [1]])
    assert shown[1] == {"init id": "a", "init step": 3}


def test_what_groups_runs_apart_is_listed(folder):
    """Also what features.json has besides names, and many train files."""
    first, second = held_out.open_runs(
        [str(folder / name) for name in ("fm", "logistic")]
    )
    user, *others = first.spec.categorical
    wide = replace(first.spec, categorical=(replace(user, num_ids=41), *others))
    narrow = replace(first.spec, numeric=())
    many = [f"{k} bytes of digest {k}" for k in range(50)]
    for other, shown in (
        (replace(first, spec=wide), {"categorical user num_ids": (40, 41)}),
        (
            replace(first, spec=narrow),
            {"features": [list(s.feature_names) for s in (first.spec, narrow)]},
        ),
        (
            replace(first, config={**first.config, "data": {"train": 9}}),
            {"data train": (None, 9)},
        ),
    ):
        groups = figures.groups_of([first, other])
        assert groups == [[0], [1]]
        found = figures.settings_that_differ([first, other], groups)
        assert found == [
            {name: values[side] for name, values in shown.items()}
            for side in (0, 1)
        ]
    other = replace(first, trained_on=many)
    found = figures.settings_that_differ([first, other], [[0], [1]])[1]
    assert found["train files"].startswith("50 values, SHA-256 ")


def test_two_runs_are_required(folder, capsys):
    assert run(folder / "fm") == 2
    assert "two or more run directories" in capsys.readouterr().err
    assert run(folder / "fm", f"{folder}/./fm") == 2
    assert "given twice" in capsys.readouterr().err


def test_differences_are_drawn_with_their_intervals(compared):
    from matplotlib.figure import Figure

    content, _ = compared
    figure, task = Figure(), content["tasks"]["click"]
    plot = differences_plot(content, "click", task, "logloss")
    plot.draw(figure, style.LIGHT)
    (axes,) = figure.axes
    found = task["groups"][1]["differences"]["logloss"]
    (line,) = axes.collections[0].get_segments()
    np.testing.assert_allclose(line, [[found["low"], 0], [found["high"], 0]])
    point = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(each.get_xdata()) for each in point] == [[found["difference"]]]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["logistic"] and "to the left" in plot.caption
    assert plot.height == 2, "of one line"
