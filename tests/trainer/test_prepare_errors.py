"""Data sets that break a rule: named by file and line, and nothing is left."""

import os

import pytest

from tests.trainer import frappe_files
from tests.trainer.frappe_files import SPLITS, write_csv, write_libfm
from tests.trainer.test_prepare import run
from trainer.data import frappe
from wukong_tf.errors import DataError


def test_a_bad_row_far_into_a_file_is_numbered_from_its_start(tmp_path):
    """Beyond the first of the batches that the file is read in."""
    good = SPLITS["train"] * 20_000
    bad = (1, "x", *good[0][2:])
    splits = {**SPLITS, "test": [*good, bad, *good[:5]]}
    source = write_csv(tmp_path / "in", splits=splits)
    sizes = []
    with pytest.raises(DataError):
        for batch in frappe.find(str(source))[2].batches():
            sizes.append(batch.num_rows)
    assert sizes and sum(sizes) < len(good)
    code, _, err = run(source, tmp_path / "out")
    assert code == 2
    assert f"test.csv: line {len(good) + 2}, column 'user': must be" in err
    assert os.listdir(tmp_path) == ["in"]


def _replace(name, old, new):
    def change(folder):
        path = folder / name
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return change


def _write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


HEADER_LINE = ",".join(frappe_files.HEADER).encode() + b"\n"
ROW = b"1,7,22,32,41,51,61,71,81,91,102\n"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda f: os.remove(f / "valid.csv"), "the valid split is missing"),
        (
            lambda f: (f / "test.csv").rename(f / "test.libfm"),
            "the splits must have one form",
        ),
        (
            _replace("train.csv", b"\n1,7,22", b"\n2,7,22"),
            "train.csv: line 4, column 'label': must be one of 0, 1, -1; "
            "received '2'",
        ),
        (
            _replace("train.csv", b"1,7,22", b"1,x,22"),
            "train.csv: line 4, column 'user': must be an integer of at "
            "least 0, or empty; received 'x'",
        ),
        (
            _replace("test.csv", b"1,7,21", b"1,-7,21"),
            "test.csv: line 2, column 'user'",
        ),
        (
            _replace("train.csv", b",102\n", b"\n"),
            "train.csv: CSV parse error: Row #4: Expected 11 columns, got 10",
        ),
        (
            _replace("valid.csv", b"weather", b"whether"),
            "valid.csv: the first line must name the columns label, user",
        ),
        (_write("train.csv", b""), "train.csv: Empty CSV file"),
        (_write("train.csv", HEADER_LINE), "train.csv: there are no rows"),
        (
            _write("train.csv", HEADER_LINE + ROW.replace(b"22", b"\xff\xfe")),
            "train.csv: In CSV column #2: Row #2: CSV conversion error to "
            "string: invalid UTF8",
        ),
        (
            _replace("train.csv", b"user", b"\xff\xfe"),
            "train.csv: 'utf-8' codec can't decode",
        ),
        (
            _replace("train.csv", b"user", b"item"),
            "train.csv: the first line must name the columns label, user",
        ),
        (
            _replace("train.csv", b"label,", b""),
            "train.csv: CSV parse error: Row #2: Expected 10 columns, got 11",
        ),
        (
            _replace("train.csv", b"1,7,22", b"1,7,22.0"),
            "train.csv: line 4, column 'item': must be an integer of at "
            "least 0, or empty; received '22.0'",
        ),
        (
            _replace("test.csv", b"1,7,21", b",7,21"),
            "test.csv: line 2, column 'label': must be one of 0, 1, -1; "
            "received ''",
        ),
        (
            _replace("valid.csv", b"\n0,5", b"\n\n0,5"),
            "valid.csv: line 2, column 'label': must be one of 0, 1, -1; "
            "received ''",
        ),
    ],
)
def test_a_bad_file_is_named_and_leaves_nothing(change, words, tmp_path):
    source = write_csv(tmp_path / "in")
    change(source)
    code, _, err = run(source, tmp_path / "made" / "out")
    assert code == 2
    assert err.startswith("error: ") and "Traceback" not in err
    assert words in err, err
    assert str(source) in err
    assert not (tmp_path / "made").exists() or not os.listdir(tmp_path / "made")


@pytest.mark.parametrize(
    "line, words",
    [
        ("1 7:1 20:1", "Expected 11 columns, got 3"),
        ("1 7:2 20:1" + " 3:1" * 8, "line 2, column 'user': must be INDEX:1"),
        ("1 7 20:1" + " 3:1" * 8, "received '7'"),
        ("3 7:1 20:1" + " 3:1" * 8, "line 2, column 'label'"),
    ],
)
def test_a_bad_libfm_row_is_named(line, words, tmp_path):
    source = write_libfm(tmp_path / "in")
    path = source / "frappe.train.libfm"
    first, *_, last = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{last}\n")
    code, _, err = run(source, tmp_path / "out")
    assert code == 2 and f"error: {path}: " in err and words in err, err


def test_flags_and_places_that_are_refused(tmp_path):
    source = write_csv(tmp_path / "in")
    (tmp_path / "there").mkdir()
    file = tmp_path / "file"
    file.write_text("")
    for folder, output, words in (
        (source, "", "--output is needed"),
        ("", tmp_path / "out", "--input is needed"),
        (tmp_path / "no", tmp_path / "out", "there is no such directory"),
        (source, tmp_path / "there", "exists; nothing is overwritten"),
        (source, file, "exists; nothing is overwritten"),
        (source, file / "out", "cannot be written"),
    ):
        code, _, err = run(folder, output)
        assert code == 2 and words in err, err
    code, _, err = run(source, tmp_path / "out", "more")
    assert code == 2 and "unexpected arguments: ['more']" in err
    assert list((tmp_path / "there").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in", "there"]


@pytest.mark.parametrize(
    "place", ["os.rename", "pyarrow.parquet.ParquetWriter"]
)
def test_a_disk_that_fails_is_named_and_nothing_is_left(
    place, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    source = write_csv(tmp_path / "in")
    monkeypatch.setattr(place, fail)
    code, _, err = run(source, tmp_path / "out")
    assert code == 2
    assert err.startswith(f"error: --output={tmp_path / 'out'} cannot be")
    assert "No space left on device" in err
    assert os.listdir(tmp_path) == ["in"]
