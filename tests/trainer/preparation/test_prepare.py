"""Shards, manifests, processes and flags: what a preparation makes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation import frappe_files
from tests.trainer.preparation.command import (
    contents,
    prepared,
    rows,
    run,
    words,
)
from tests.trainer.preparation.frappe_files import write_csv
from trainer import prepare

ROOT = Path(prepare.__file__).parent.parent


def test_ids_follow_the_train_rows_counts_in_any_shards(large, tmp_path):
    source, splits = large
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    spec, manifest = prepared("frappe", source, whole, "--min_count=3")
    options = ("--min_count=3", "--shard_mb=1")
    again, other = prepared("frappe", source, parts, *options)
    assert again == spec
    assert len(other["files"]) > len(manifest["files"]) == 3
    for split, lines in splits.items():
        one = rows(whole, split)
        assert one == rows(parts, split)
        assert one["label"] == [line[0] for line in lines]
    for index, name in enumerate(frappe_files.HEADER[1:], 1):
        seen: dict[str, int] = {}
        for line in splits["train"]:
            seen[line[index]] = seen.get(line[index], 0) + 1
        kept = [value for value, count in seen.items() if count >= 3]
        order = sorted(kept, key=lambda v: (-seen[v], len(v), v))
        assert words(spec, name)[3:] == order
        ids = {value: 3 + place for place, value in enumerate(order)}
        test = [ids.get(line[index], 2) for line in splits["test"]]
        assert rows(parts, "test")[name] == test


def test_the_manifest_says_what_was_made(large, tmp_path):
    source, splits = large
    output = tmp_path / "out"
    _, manifest = prepared("frappe", source, output, "--shard_mb=1")
    import hashlib

    for each in manifest["files"]:
        content = (output / each["file"]).read_bytes()
        assert len(content) == each["bytes"]
        assert hashlib.sha256(content).hexdigest() == each["sha256"]
        table = pq.read_metadata(output / each["file"])
        assert table.num_rows == each["rows"]
    assert manifest["rows"] == {s: len(lines) for s, lines in splits.items()}
    rate = np.mean([line[0] for line in splits["train"]])
    assert manifest["statistics"]["label_rate"] == pytest.approx(rate)
    assert {each["file"] for each in manifest["inputs"]} == {
        "train.csv",
        "valid.csv",
        "test.csv",
    }


@pytest.mark.slow
def test_processes_give_the_same_bytes_and_leave_nothing(large, tmp_path):
    source, _ = large
    prepared("frappe", source, tmp_path / "one", "--shard_mb=1")
    command = [sys.executable, "-m", "trainer.prepare", "--dataset=frappe"]
    command += [f"--input={source}", "--shard_mb=1", "--workers=2"]
    command += [f"--output={tmp_path / 'two'}"]
    for code, said in ((0, ""), (2, "already exists and is not")):
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code, ended.stderr
        assert said in ended.stderr and "Traceback" not in ended.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_every_form_of_the_same_rows_gives_the_same_bytes(tmp_path):
    names = list(frappe_files.HEADER)
    forms = {
        "lf": write_csv(tmp_path / "lf"),
        "again": tmp_path / "lf",
        "crlf": write_csv(tmp_path / "crlf", "\r\n"),
        "reordered": write_csv(tmp_path / "reordered", names=names[::-1]),
        "libfm": frappe_files.write_libfm(tmp_path / "libfm"),
        "libfm_zero": frappe_files.write_libfm(tmp_path / "libfm_zero", 0),
    }
    found = {}
    for name, source in forms.items():
        output = tmp_path / "out" / name
        prepared("frappe", source, output)
        found[name] = contents(output)
        del found[name]["manifest.json"]  # it has the inputs' checksums
        del found[name]["layout.json"]  # it says how their text is divided
    first = found.pop("lf")
    assert len(first) == 5
    for name, files in found.items():
        assert files == first, name


def test_flags_and_places_that_are_refused(tmp_path):
    source = write_csv(tmp_path / "in")
    (tmp_path / "there").mkdir()
    file = tmp_path / "file"
    file.write_text("")
    for folder, output, expected in (
        (source, "", "--output is required"),
        ("", tmp_path / "out", "--input is required"),
        (tmp_path / "no", tmp_path / "out", "there is no such directory"),
        (file, tmp_path / "out", f"is a file; --input={tmp_path} reads"),
        (source, tmp_path / "there", "already exists and is not"),
        (source, file, "already exists and is not"),
        (source, file / "out", "cannot be written"),
    ):
        code, _, err = run("frappe", folder, output)
        assert code == 2 and expected in err, err
    assert "is kept" not in err  # nothing was
    code, _, err = run("frappe", source, tmp_path / "out", "more")
    assert code == 2 and "unexpected arguments: ['more']" in err
    code, _, err = run("frappe", source, tmp_path / "out", "--label=x")
    assert code == 2 and "--label contradicts --dataset=frappe" in err
    assert list((tmp_path / "there").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in", "there"]


def test_the_rarest_values_are_left_out_of_a_full_vocabulary(tmp_path):
    source = write_csv(tmp_path / "in")
    spec, _ = prepared("frappe", source, tmp_path / "out", "--max_vocabulary=1")
    assert words(spec, "user")[3:] == ["7"]
    assert all(f.num_ids == 4 for f in spec.categorical)


BEAM = os.environ.get("WUKONG_BEAM_PYTHON", str(ROOT / ".venv-beam/bin/python"))


@pytest.mark.full
@pytest.mark.skipif(
    not os.path.exists(BEAM),
    reason="no environment with Apache Beam: `make .venv-beam/.run` makes one",
)
def test_beam_gives_the_same_bytes(large, tmp_path):
    """Both in Beam's environment, whose pyarrow writes its own version."""
    source, _ = large
    found = {}
    for name, more in (("local", ()), ("beam", ("--runner=DirectRunner",))):
        command = [BEAM, "-m", "trainer.prepare", "--dataset=frappe"]
        command += [f"--input={source}", "--shard_mb=1", *more]
        command += [f"--output={tmp_path / name}"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = contents(tmp_path / name)
    assert found["local"] == found["beam"]


def test_without_beam_its_runners_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    source = write_csv(tmp_path / "in")
    code, _, err = run(
        "frappe", source, tmp_path / "out", "--runner=DirectRunner"
    )
    assert code == 2 and "needs Apache Beam" in err
    assert "[beam]" in err
