"""The report's files: what they hold, and that they appear whole."""

import builtins
import datetime
import decimal
import html.parser
import json
import math
import os
import re
import stat
import sys
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wukong_tf
from trainer.report import plots, summary
from trainer.report.compared import compared_metrics
from trainer.report.files import Predictions, write_report
from trainer.report.summary import example_of
from wukong_tf import files
from wukong_tf.arrow.texts import texts
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature
from wukong_tf.errors import RunError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def some_metrics():
    values = {
        "auc": 0.8125,
        "logloss": 0.4375,
        "ne": 0.75,
        "calibration": 1.0625,
        "rows": 123456,
        "base_rate": 0.25,
    }
    attained = {
        "attainable_auc": 0.875,
        "attainable_logloss": 0.375,
        "attained_share": 0.8333,
    }
    return {
        "valid": {"click": {**values, "auc": 0.8203125}},
        "test": {"click": {**values, **attained}},
        "run": {"checkpoint_step": 200, "seconds": 95.0, "peak_bytes": 3 << 29},
        "model": {"name": "wukong", "parameters": 1234567, "rank": 8},
    }


def some_predictions(rows=300):
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1.5, rows)
    labels = rng.random(rows) < 1 / (1 + np.exp(-logits))
    rows = Predictions(labels.astype("float32"), logits.astype("float32"))
    return {"valid": {"click": rows}, "test": {"click": rows}}


def write_log(run_dir):
    with open(os.path.join(run_dir, "metrics.jsonl"), "w") as file:
        for step in range(10, 310, 10):
            record = {"step": step, "kind": "train", "loss": 1 / step}
            file.write(json.dumps(record) + "\n")
            if step % 100 == 0:
                scores = {"auc": step / 400, "logloss": 0.5}
                record = {"step": step, "kind": "valid", "click": scores}
                file.write(json.dumps(record) + "\n")
        file.write('{"step": 310, "kind": "tra')


class PageReader(html.parser.HTMLParser):
    """Collects tags, attributes and text; checks that tags nest."""

    VOID = ("meta", "img", "source")

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        links = ("src", "srcset", "href")
        self.links += [value for key, value in attrs if key in links]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())


def test_report_holds_its_files_and_their_paths(tmp_path):
    write_log(tmp_path)
    paths = write_report(
        str(tmp_path), some_metrics(), some_predictions(), title="A run"
    )
    names = {os.path.relpath(path, tmp_path / "report") for path in paths}
    assert names == set(os.listdir(tmp_path / "report"))
    kinds = ("learning", "roc", "gain", "calibration", "scores")
    pngs = {f"{kind}_click.png" for kind in kinds}
    assert names == {"metrics.json", "index.html", *pngs}
    for name in pngs:
        data = (tmp_path / "report" / name).read_bytes()
        assert data.startswith(PNG_MAGIC) and len(data) > 5000
    written = json.loads((tmp_path / "report/metrics.json").read_text())
    assert written == some_metrics()
    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "report"]


def test_stable_ranks_of_the_log_are_drawn_once(tmp_path):
    write_log(tmp_path)
    ranks = {"step": 100, "kind": "stable_rank", "embeddings": 3.5}
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write("\n" + json.dumps(ranks) + "\n")
    rows = some_predictions()["test"]["click"]
    two = {"test": {"click": rows, "buy": rows}}
    paths = write_report(str(tmp_path), {}, two, title="A run")
    names = [os.path.basename(path) for path in paths]
    assert names.count("stable_rank.png") == 1
    page = PageReader((tmp_path / "report/index.html").read_text())
    assert "Inside the model" in page.texts


def test_metrics_alone_without_plots(tmp_path):
    write_log(tmp_path)
    write_report(
        str(tmp_path),
        some_metrics(),
        some_predictions(),
        title="A run",
        draw=False,
    )
    assert os.listdir(tmp_path / "report") == ["metrics.json"]


def test_page_is_self_contained_and_leads_with_the_headline(tmp_path):
    write_log(tmp_path)
    write_report(
        str(tmp_path), some_metrics(), some_predictions(), title="A run"
    )
    text = (tmp_path / "report/index.html").read_text()
    page = PageReader(text)
    assert len(page.links) == 10  # five pictures, light and dark
    assert all(each.startswith("data:image/png;base64,") for each in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\(", text)
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert page.texts.index("0.81250") < page.texts.index("Metrics")
    for expected in (
        "83.33%", "attainable: 0.87500", "0.82031", "123,456", "1.50 GiB",
        "1 min 35 s", "1,234,567",
    ):  # fmt: skip
        assert expected in page.texts


def test_floats_that_are_not_finite_are_null_and_na(tmp_path):
    metrics = some_metrics()
    metrics["test"]["click"]["ne"] = math.nan
    metrics["run"]["rate"] = np.float32(np.inf)
    metrics["run"]["list"] = (np.int64(3), -math.inf)
    write_report(str(tmp_path), metrics, {}, title="A run")
    text = (tmp_path / "report/metrics.json").read_text()
    assert not re.search("nan|infinity", text, re.IGNORECASE)
    written = json.loads(text)
    assert written["test"]["click"]["ne"] is None
    assert written["run"]["rate"] is None
    assert written["run"]["list"] == [3, None]
    page = PageReader((tmp_path / "report/index.html").read_text())
    ne = page.texts.index("NE")
    assert page.texts[ne + 1] == "n/a"


def test_without_matplotlib_only_metrics_are_written(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "report").mkdir()
    (tmp_path / "report/old.png").write_text("of the run before")
    for name in list(sys.modules):
        if name.split(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    paths = write_report(
        str(tmp_path), some_metrics(), some_predictions(), title="A run"
    )
    assert paths == [str(tmp_path / "report" / "metrics.json")]
    assert os.listdir(tmp_path / "report") == ["metrics.json"]
    # The run said so when it started.
    assert capsys.readouterr() == ("", "")


def test_drawing_needs_no_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    paths = write_report(
        str(tmp_path), some_metrics(), some_predictions(), title="A run"
    )
    pictures = [path for path in paths if path.endswith(".png")]
    assert len(paths) == 7 and pictures
    for path in pictures:
        with open(path, "rb") as file:
            assert file.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_new_report_replaces_the_old_one_whole(tmp_path):
    write_report(str(tmp_path), some_metrics(), some_predictions(), title="1")
    (tmp_path / "report/stale.png").write_text("old")
    write_report(str(tmp_path), some_metrics(), {}, title="2")
    assert sorted(os.listdir(tmp_path)) == ["report"]
    names = set(os.listdir(tmp_path / "report"))
    assert names == {"metrics.json", "index.html", "learning_click.png"}
    assert "<h1>2</h1>" in (tmp_path / "report/index.html").read_text()


def test_a_write_that_fails_leaves_the_old_report(tmp_path, monkeypatch):
    write_report(str(tmp_path), some_metrics(), {}, title="1")
    before = (tmp_path / "report/metrics.json").read_bytes()
    real_open = builtins.open

    def full_disk(path, *args, **kwargs):
        if str(path).endswith("index.html"):
            raise OSError(28, "No space left on device")
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", full_disk)
    with pytest.raises(RunError, match="report cannot be written.*No space"):
        write_report(str(tmp_path), {"test": {}}, {}, title="2")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["report"]
    assert (tmp_path / "report/metrics.json").read_bytes() == before


def test_a_rename_that_fails_brings_the_old_report_back(tmp_path, monkeypatch):
    write_report(str(tmp_path), some_metrics(), {}, title="1")
    real_rename = os.rename

    def rename(source, target):
        if str(source).endswith(files.UNFINISHED):
            raise OSError(5, "Input/output error")
        real_rename(source, target)

    monkeypatch.setattr(files, "_exchange", lambda *paths: False)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(RunError, match="Input/output"):
        write_report(str(tmp_path), some_metrics(), {}, title="2")
    assert os.listdir(tmp_path) == ["report"]
    assert "<h1>1</h1>" in (tmp_path / "report/index.html").read_text()


def test_a_picture_that_fails_does_not_cost_the_metrics(tmp_path, monkeypatch):
    def broken(plot, theme):
        raise ZeroDivisionError

    monkeypatch.setattr(plots, "render", broken)
    with pytest.raises(ZeroDivisionError):
        write_report(str(tmp_path), some_metrics(), {}, title="A run")
    assert os.listdir(tmp_path / "report") == ["metrics.json"]


def test_a_run_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match="absent"):
        write_report(str(tmp_path / "absent"), {}, {}, title="A run")


def test_report_can_be_read_by_whom_the_umask_lets(tmp_path):
    umask = os.umask(0o022)
    try:
        write_report(str(tmp_path), {}, {}, title="A run")
    finally:
        os.umask(umask)
    mode = stat.S_IMODE(os.stat(tmp_path / "report").st_mode)
    assert mode == 0o777 & ~0o022


def test_task_names_make_safe_file_names(tmp_path):
    rows = some_predictions()["test"]["click"]
    paths = write_report(
        str(tmp_path), {}, {"test": {"buy <now>": rows}}, title="A run"
    )
    names = sorted(os.path.basename(path) for path in paths)
    assert "roc_buy%20%3Cnow%3E.png" in names


@pytest.mark.full
def test_task_names_of_any_length_and_case_make_files_of_their_own(tmp_path):
    rows = some_predictions()["test"]["click"]
    tasks = ["Click", "click", "价" * 300, "价" * 301, "$x^{", "_a", "a\nb"]
    predictions = {"test": dict.fromkeys(tasks, rows)}
    paths = write_report(str(tmp_path), {}, predictions, title="A run")
    names = [os.path.basename(path).lower() for path in paths]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("roc_") for name in names) == len(tasks)
    assert "roc_click.png" in names


def test_the_example_holds_the_rows_in_plain_python(tmp_path, monkeypatch):
    day = datetime.datetime(2024, 5, 31, 18, 0, 1)
    kinds = ("day", "time", "code", "word")
    features = [CategoricalFeature(n, 30, raw="string") for n in kinds]
    spec = FeatureSpec(tuple(features), (NumericFeature("x", missing=0.0),))
    (tmp_path / "features.json").write_text(spec.to_json())
    rows = {
        "day": [day.date(), None],
        "time": [day, None],
        "code": [decimal.Decimal(7), None],
        "word": ["é\"'", None],
        "x": [math.nan, 1.5],
    }
    pq.write_table(pa.table(rows), tmp_path / "samples.parquet")
    seen = []
    model = types.SimpleNamespace(
        predict_rows=lambda rows: seen.append(rows) or {}
    )
    monkeypatch.setattr(
        wukong_tf, "load_run", lambda path: model, raising=False
    )
    exec(example_of(str(tmp_path)), {})
    for name in kinds[:3]:  # as the reader reads them
        wanted = texts(pa.table(rows)[name]).to_pylist()
        assert [text or "" for text in seen[0][name]] == wanted
    assert seen[0]["word"] == rows["word"] and seen[0]["x"] == [None, 1.5]


@pytest.mark.parametrize(
    "content", [b"\xff", b"{", b"[3]", b'"text"', b'{"training": 3}']
)
def test_a_spoilt_report_of_another_run_is_refused(tmp_path, content):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_bytes(content)
    with pytest.raises(RunError, match="has no report"):
        compared_metrics(str(tmp_path))


@pytest.mark.parametrize("content", [None, b"", b"PAR1"])
def test_spoilt_samples_cost_the_example_alone(tmp_path, capsys, content):
    features = FeatureSpec((CategoricalFeature("x", 3),)).to_json()
    (tmp_path / "features.json").write_text(features)
    if content is not None:
        (tmp_path / "samples.parquet").write_bytes(content)
    assert summary._example_if_possible(str(tmp_path)) == ""
    assert "leaves out its example" in capsys.readouterr().err


def test_another_run_that_is_gone_costs_no_report(tmp_path, capsys):
    """It was there when the run started, hours before."""
    (tmp_path / "whole" / "report").mkdir(parents=True)
    (tmp_path / "whole" / "report" / "metrics.json").write_text('{"test": {}}')
    names = [str(tmp_path / name) for name in ("gone", "whole")]
    assert summary._compared(names) == {"whole": {"test": {}}}
    assert f"--compare_runs={names[0]} has no report" in capsys.readouterr().err
