"""Files that break a rule are named, with the row and the column."""

import os

import pytest

from tests.trainer.preparation import frappe_files
from tests.trainer.preparation.command import (
    run,
)
from tests.trainer.preparation.frappe_files import SPLITS, write_csv


def _replace(name, old, new):
    def change(source):
        path = source / name
        content = path.read_bytes()
        assert content.count(old) >= 1
        path.write_bytes(content.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "change, expected",
    [
        (
            _replace("train.csv", b"7,22,", b"7,22.0,"),
            "train.csv: line 4, column 'item': must be an integer of at "
            "least 0, or empty; received '22.0'",
        ),
        (
            _replace("test.csv", b"1,7,21", b",7,21"),
            "test.csv: line 2, column 'label': must be one of 0, -1, 1; "
            "--dataset=csv and parquet take others by --negatives and "
            "--positives, or by the recipe's `negatives` and `positives`; "
            "received ''",
        ),
        (
            _replace("valid.csv", b"\n0,5", b"\n\n0,5"),
            "valid.csv: line 2: is blank; only lines at the end",
        ),
        (
            _replace("train.csv", b",weather", b""),
            "train.csv: column 'weather' is missing",
        ),
        (
            _replace("train.csv", b"item", b"user"),
            "train.csv: the first line names column 'user' twice",
        ),
        (
            _replace("test.csv", b",101\n", b"\n"),
            "test.csv: line 2: must have 11 fields, one per column; "
            "received 10",
        ),
        (lambda s: (s / "valid.csv").write_text(""), "valid.csv: there are no"),
        (
            lambda s: (s / "train.csv").write_text(
                ",".join(frappe_files.HEADER) + "\n"
            ),
            "there are no train rows",
        ),
    ],
)
def test_a_bad_file_is_named_and_leaves_nothing(change, expected, tmp_path):
    source = write_csv(tmp_path / "in")
    if "101" in expected:
        source = write_csv(tmp_path / "in", splits={**SPLITS, "test": []})
    if "received 10" in expected:
        test = [SPLITS["train"][1]]
        source = write_csv(tmp_path / "in", splits={**SPLITS, "test": test})
    change(source)
    code, _, err = run("frappe", source, tmp_path / "made" / "out")
    assert code == 2
    assert err.startswith("error: ") and "Traceback" not in err
    assert expected in err, err
    made = tmp_path / "made"
    assert not made.exists() or not os.listdir(made)


def test_a_bad_row_far_into_a_file_is_numbered_from_its_start(large, tmp_path):
    _, splits = large
    train_rows = list(splits["train"])
    train_rows[51_234] = (1, "x", *train_rows[51_234][2:])
    source = write_csv(tmp_path / "in", splits={**SPLITS, "train": train_rows})
    for size in (1, 64):
        code, _, err = run(
            "frappe", source, tmp_path / "out", f"--shard_mb={size}"
        )
        assert code == 2
        assert "train.csv: line 51236, column 'user'" in err
        assert "received 'x'" in err


@pytest.mark.parametrize(
    "line, expected",
    [
        ("1 7:1 20:1", "line 2: must have 11 fields"),
        ("1 7:2 20:1" + " 3:1" * 8, "line 2, column 'user': must be INDEX:1"),
        ("1 7 20:1" + " 3:1" * 8, "received '7'"),
        ("3 7:1 20:1" + " 3:1" * 8, "line 2, column 'label'"),
    ],
)
def test_a_bad_libfm_row_is_named(line, expected, tmp_path):
    source = frappe_files.write_libfm(tmp_path / "in")
    path = source / "frappe.train.libfm"
    first, *_, last = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{last}\n")
    code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 2 and f"error: {path}: " in err and expected in err, err


def test_a_file_that_is_cut_off_is_named(tmp_path):
    import gzip

    source = write_csv(tmp_path / "in")
    whole = gzip.compress((source / "train.csv").read_bytes())
    (source / "train.csv").unlink()
    (source / "train.csv.gz").write_bytes(whole[:-9])
    code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 2 and f"{source / 'train.csv.gz'}: " in err
