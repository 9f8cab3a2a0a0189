"""Experiments of configs/: their heads, their runs and the table."""

import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from tests import tiers
from tests.programs import call
from tests.trainer import cli
from tests.trainer.preparation import command
from tests.worlds import public_logs
from trainer import reproduce
from trainer.preparation import datasets, outputs
from trainer.preparation.settings import Prepare
from trainer.report import published
from wukong_tf.errors import ConfigError, RunError

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "configs").glob("*.flags"))
}
# The shortest first: `make test` runs it.
EXPERIMENTS = sorted(
    (name for name, text in TEXTS.items() if "# |" in text),
    key=lambda name: (name != "frappe", name),
)
BLOCK = ["# `python -m trainer.prepare --dataset=frappe`"]
HEADER = "# | model | auc | logloss | seeds | split | source |"
RULE = "# |---|---|---|---|---|---|"
ROW = "# | A | 0.8 ± 0.1 | 0.5 | 5 | same | paper |"


def config(name):
    return str(ROOT / f"configs/{name}.flags")


def head(name):
    return published.read_head(config(name))


def dataset(name):
    return re.search(r"--dataset=(\S+)", " ".join(head(name).prepare))[1]


def comments(name):
    """The text of a flagfile's head, as one line."""
    lines = TEXTS[name].partition("\n--")[0].splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.fixture
def programs(monkeypatch):
    """Runs the programs in this process; returns what was started."""
    started = []

    def start(module, arguments):
        started.append((module, list(arguments)))
        if module == "trainer.main":
            return cli.run(*arguments)
        values = dict(a.removeprefix("--").split("=") for a in arguments)
        paths = [values.pop(name) for name in ("dataset", "input")]
        more = [f"--{n}={v}" for n, v in values.items() if n != "output"]
        code, _, error = command.run(*paths, values["output"], *more)
        assert not error
        return code

    monkeypatch.setattr(reproduce, "start", start)
    return started


def run(name, *own, more=()):
    """The exit code of the command line."""
    experiment = f"--experiment={config(name)}"
    return call(reproduce, experiment, *own, trainers=more)


def small(folder):
    return (
        *(f"--data_dir={folder}/data", f"--run_dir={folder}/run"),
        *("--max_steps=2", "--batch_size=64", "--noplots"),
    )


def test_there_are_experiments():
    assert len(EXPERIMENTS) == 9
    assert {dataset(name) for name in EXPERIMENTS} == set(datasets.KNOWN)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_head_says_where_its_figures_are_from(name):
    text = comments(name)
    for row in head(name).published:
        assert re.search(rf"\b{row['source']} is arXiv \d{{4}}\.\d{{5}}", text)
        assert re.fullmatch(r"\d|1 of 5|\?", row["seeds"])
        assert ("±" in row["auc"]) == (row["seeds"] == "5")
        assert 0.5 < float(row["auc"].split()[0]) < 1
    for form in datasets.dataset(dataset(name)).forms:
        for file, digest in (form.md5 or {}).items():
            assert f"{file.removesuffix('.csv')} {digest}" in text
    assert re.search(r"\bSplit: [\d,]+ (train|rows)\b", text)
    for word in ("Expect", "Hardware", "Time"):
        assert f"{word}: " in text
    measured = "no figure of ours" not in text
    assert measured == (name == "frappe")


def row_of_the_page(name):
    """What the page says of an experiment, from its flagfile."""
    rows = head(name).published
    wukong = [
        f"{row['auc']} ({row['source']}"
        + (")" if row["split"] == "same" else f", {row['split']})")
        for row in rows
        if row["model"] == "Wukong"
    ]
    same = [row for row in rows if row["split"] == "same"]
    aucs = [float(row["auc"].split()[0]) for row in same]
    best = [
        f"{row['model']} {row['auc']} ({row['source']})"
        for row, auc in zip(same, aucs, strict=True)
        if auc == max(aucs)
    ]
    ours = re.search(r"Expect: auc ([\d.]+) on test", comments(name))
    return [
        f"`{name}`",
        f"`{dataset(name)}`",
        "; ".join(wukong) or "none found",
        "; ".join(best) or "none",
        ours[1] if ours else "not measured",
    ]


def test_the_page_has_the_figures_of_the_heads():
    page = (ROOT / "docs/measured.md").read_text(encoding="utf-8")
    section = page.partition("\n## Published figures\n")[2].partition("\n## ")
    rows = [cells(line) for line in section[0].splitlines() if line[:1] == "|"]
    assert rows[2:] == [row_of_the_page(name) for name in sorted(EXPERIMENTS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", tiers.first(EXPERIMENTS))
def test_an_experiment_runs(name, tmp_path, programs, capsys, monkeypatch):
    """On small files of its format, with the sizes of its flagfile."""
    few = (5,) * len(datasets.CRITEO_1TB_BUCKETS)
    monkeypatch.setattr(datasets, "CRITEO_1TB_BUCKETS", few)
    source = public_logs.write(dataset(name), tmp_path / "files")
    own = [f"--input={source}", "--seeds=3,4"]
    assert run(name, *own, more=small(tmp_path)) == 0
    assert [module for module, _ in programs] == [
        "trainer.prepare",
        *["trainer.main"] * 2,
    ]
    found = []
    for seed in (3, 4):
        folder = tmp_path / f"run-seed-{seed}"
        content = json.loads((folder / "config.json").read_text())
        assert content["training"]["seed"] == seed
        metrics = json.loads((folder / "report/metrics.json").read_text())
        (test,) = metrics["test"].values()
        found.append([test["auc"], test["logloss"]])
    lines = capsys.readouterr().out.splitlines()
    split = "not known" if name == "criteo_1tb" else "other files"
    assert lines[-1].startswith(f"{split}: ")
    lines = [cells(line) for line in lines if line.startswith("|")]
    mean, deviation = np.mean(found, 0), np.std(found, 0, ddof=1)
    assert lines[2] == [
        *("wukong, ours", f"{mean[0]:.6f} ± {deviation[0]:.6f}", ""),
        *(f"{mean[1]:.6f} ± {deviation[1]:.6f}", "", "2", split),
        "these runs",
    ]
    assert len(lines) == 3 + TEXTS[name].count("# |") - 2
    for line, row in zip(lines[3:], head(name).published, strict=True):
        assert line[:2] == [row["model"], row["auc"]]
        for column, want in ((2, mean[0]), (4, mean[1])):
            figure = float(line[column - 1].split()[0])
            assert float(line[column]) == pytest.approx(want - figure, abs=1e-6)


def test_one_run_has_no_deviation():
    row = {"model": "A", "auc": "0.8 ± 0.1", "logloss": "0.5", "seeds": "?"}
    row |= {"split": "other", "source": "paper"}
    text = published.table([row], [{"auc": 0.75, "logloss": 0.625}], "fm")
    assert [cells(line) for line in text.splitlines()] == [
        [
            *("model", "auc", "difference", "logloss", "difference"),
            *("seeds", "split", "source"),
        ],
        ["---"] * 8,
        [
            *("fm, ours", "0.750000", "", "0.625000", ""),
            *("1", "same", "these runs"),
        ],
        [
            *("A", "0.8 ± 0.1", "-0.050000", "0.5", "+0.125000"),
            *("?", "other", "paper"),
        ],
    ]


@pytest.mark.parametrize(
    "lines, named",
    [
        ([HEADER, RULE, ROW], "its comments must have `python -m trainer.prep"),
        ([*BLOCK, HEADER, RULE], "a table of published figures"),
        ([*BLOCK, HEADER.replace("auc", "AUC"), RULE, ROW], "columns model, a"),
        ([*BLOCK, HEADER, RULE, ROW[:-8]], "6 cells; received 'A | 0.8"),
        (
            [*BLOCK, HEADER, RULE, ROW.replace("0.5", "about 0.5")],
            "logloss of A must start with a number; received 'about 0.5'",
        ),
    ],
)
def test_heads_that_break_a_rule(lines, named, tmp_path):
    path = tmp_path / "a.flags"
    path.write_text("\n".join([*lines, "--data_dir=a"]))
    with pytest.raises(ConfigError, match=re.escape(named)) as raised:
        published.read_head(str(path))
    assert f"--experiment={path}: " in str(raised.value)


def test_a_head_that_cannot_be_read(tmp_path):
    (tmp_path / "a").write_bytes("# Müller\n".encode("latin-1"))
    for name, why in (("a", "can't decode"), ("b", "No such file")):
        path = tmp_path / name
        rule = f"--experiment={path} must be a flagfile in UTF-8: "
        with pytest.raises(ConfigError, match=re.escape(rule)) as raised:
            published.read_head(str(path))
        assert why in str(raised.value)


@pytest.mark.parametrize("seeds", ["", "1,1", "01,1", "1,x", "-1", "1.5"])
def test_seeds_must_be_different_integers(seeds, capsys):
    assert run("frappe", f"--seeds={seeds}") == 2
    assert "--seeds must be different integers" in capsys.readouterr().err


def test_flags_that_are_invalid(tmp_path, programs, capsys):
    for own, more, named in (
        (["x"], (), "unexpected arguments: ['x']; the trainer's flags come"),
        ([], ["--no_such_flag"], "no_such_flag"),
        ([], ["--rank=a"], "--rank must hold integers"),
        ([], ["--data_dir="], "frappe.flags: no --data_dir."),
        ([], small(tmp_path), "--input is required"),
    ):
        assert run("frappe", *own, more=more) == 2
        assert named in capsys.readouterr().err
    assert not programs


@pytest.fixture
def stopped(monkeypatch):
    """Each program that is started is stopped."""
    monkeypatch.setattr(reproduce, "start", lambda *arguments: 75)


def public(name, folder, *more):
    """Files of a data set, and their preparation in FOLDER/data."""
    source = public_logs.write(name, folder / "files")
    _, manifest = command.prepared(name, source, folder / "data", *more)
    return source, manifest


def test_input_other_than_the_data_were_prepared_from(
    tmp_path, stopped, capsys
):
    source, _ = public("kuaivideo", tmp_path)

    def said(code, own=f"--input={source}"):
        assert run("kuaivideo_x1", own, more=small(tmp_path)) == code
        return capsys.readouterr().err

    assert "--input is not read again" in said(75)
    for name in ("test.csv", "item_visual_emb_dim64.h5"):
        before = (source / name).read_bytes()
        (source / name).write_bytes(b"")
        error = said(2)
        assert f"{name} must have the {len(before):,} bytes" in error
        assert "received 0." in error
        (source / name).write_bytes(before)
    for path in source.iterdir():
        path.unlink()
    named = "none named train.csv, test.csv, item_visual_emb_dim64.h5."
    assert named in said(2)
    assert "--input" not in said(75, "--input=")


def test_vectors_are_missing_before_anything_is_prepared(
    tmp_path, programs, capsys
):
    own = f"--input={tmp_path}"
    assert run("kuaivideo_x1", own, more=small(tmp_path)) == 2
    assert "none named item_visual_emb_dim64.h5." in capsys.readouterr().err
    assert not programs


@pytest.mark.parametrize(
    "name, prepared, more, named",
    [
        ("movielenslatest_x1", "frappe", [], "dataset must be movielens_tags"),
        ("frappe", "frappe", ["--min_count=2"], "min_count must be 1; receiv"),
        (
            *("frappe", "frappe", ["--max_vocabulary=2"]),
            "max_vocabulary must be None; received 2.",
        ),
        (
            *("frappe", "frappe", ["--oov_buckets=3"]),
            "oov_buckets must be 1; received 3.",
        ),
        (
            *("criteo_x4", "criteo_kaggle", ["--integer_rule=squared_log"]),
            "column 'I1' must be {'name': 'I1', 'rule': 'log2'}; received {",
        ),
    ],
)
def test_data_that_the_head_prepares_otherwise(
    name, prepared, more, named, tmp_path, stopped, capsys
):
    public(prepared, tmp_path, *more)
    assert run(name, more=small(tmp_path)) == 2
    assert f"--data_dir={tmp_path}/data: {named}" in capsys.readouterr().err


def test_a_manifest_that_differs_or_is_none(tmp_path):
    _, manifest = public("kuaivideo", tmp_path)
    data, path = str(tmp_path / "data"), tmp_path / "data/manifest.json"
    settings = Prepare("kuaivideo", "I", "O")
    assert outputs.check(data, settings) == manifest
    assert outputs.check(str(tmp_path), settings) is None
    for content, named in (
        ({}, "is not a manifest"),
        ([], "is not a manifest"),
        (manifest | {"inputs": [{}]}, "is not a manifest"),
        (manifest | {"split_rule": "files"}, "split_rule must be every; rec"),
        (manifest | {"extended": True}, "extended must be False; received T"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=named):
            outputs.check(data, settings)
    for name in ("extended", "oov_buckets"):
        del manifest[name]  # as in a manifest of before
    path.write_text(json.dumps(manifest))
    assert outputs.check(data, settings) == manifest
    recipe = tmp_path / "data/recipe.json"
    content = json.loads(recipe.read_text())
    content["columns"].pop()
    recipe.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="'item_visual' must.*received None"):
        outputs.check(data, settings)


@pytest.mark.parametrize(
    "published, split",
    [
        ([True, True], ("same", "")),
        ([True, None], ("not known", "no MD5 is published of 1.csv")),
        (
            [None, False],
            ("other files", "the published MD5 is not that of 1.csv"),
        ),
        (None, ("not known", "data/a has no manifest of trainer.prepare")),
    ],
)
def test_the_split_of_the_runs(published, split):
    inputs = [
        {"file": f"{number}.csv", "published": is_it}
        for number, is_it in enumerate(published or ())
    ]
    manifest = published and {"inputs": inputs}
    assert reproduce.split_of("data/a", manifest) == split


def test_the_first_program_that_fails_ends_it(tmp_path, monkeypatch):
    """A stopped run is resumed by the same command."""
    codes = iter([0, 75])
    started = []

    def start(module, arguments):
        started.append(module)
        return next(codes)

    monkeypatch.setattr(reproduce, "start", start)
    more = small(tmp_path)
    own = [f"--input={tmp_path}", "--seeds=1,2"]
    assert run("frappe", *own, more=more) == 75
    assert started == ["trainer.prepare", "trainer.main"]
    (tmp_path / "data").mkdir()  # as prepared
    codes = iter([75])
    assert run("frappe", "--seeds=1", more=more) == 75
    assert started[2:] == ["trainer.main"]


def test_a_run_without_metrics_is_named(tmp_path):
    with pytest.raises(RunError, match="metrics.json: "):
        published.read_metrics(str(tmp_path))
    (tmp_path / "report").mkdir()
    path = tmp_path / "report/metrics.json"
    for content in ({}, {"test": {"click": {"auc": None, "logloss": 0.5}}}):
        path.write_text(json.dumps(content))
        with pytest.raises(RunError, match="the test rows have no auc"):
            published.read_metrics(str(tmp_path))


def test_signals_are_passed_on(tmp_path, monkeypatch):
    """The program that runs asks for one here, and ends by it."""
    (tmp_path / "asks.py").write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "time.sleep(0.5)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.fspath(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    assert reproduce.start("asks", ["--a=b c"]) == 75
    assert signal.getsignal(signal.SIGTERM) == before
