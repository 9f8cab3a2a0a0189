"""Text files of a data set become Parquet and features.json, or an error."""

import contextlib
import hashlib
import io
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from absl import flags

from tests.trainer import frappe_files
from tests.trainer.frappe_files import SPLITS, write_csv, write_libfm
from trainer import prepare
from trainer.data import frappe
from trainer.data.parquet import ParquetSource
from wukong_tf.config import FeatureSpec


def run(source, output, *more):
    """(exit code, standard output, standard error) of the command line."""
    values = flags.FlagValues()
    prepare.define_flags(values)
    argv = ["prepare", "--dataset=frappe", f"--input={source}"]
    rest = values([*argv, f"--output={output}", *more])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = prepare.run(rest, values)
    return code, out.getvalue(), err.getvalue()


def prepared(source, output, *more):
    """Bytes of every file of a prepared directory, by name."""
    code, _, err = run(source, output, *more)
    assert code == 0, err
    return {path.name: path.read_bytes() for path in output.iterdir()}


def expected_ids(min_count=1):
    """Of each feature, raw value to id, by counting in plain Python."""
    result = {}
    for index, name in enumerate(frappe.FEATURES, start=1):
        seen = [row[index] for row in SPLITS["train"]]
        kept = {value for value in seen if seen.count(value) >= min_count}
        order = sorted(kept, key=lambda v: (-seen.count(v), int(v)))
        result[name] = {value: 3 + i for i, value in enumerate(order)}
    return result


@pytest.mark.parametrize("min_count", [1, 2])
def test_ids_follow_the_train_rows_counts(min_count, tmp_path):
    output = tmp_path / "out"
    prepared(write_csv(tmp_path / "in"), output, f"--min_count={min_count}")
    ids = expected_ids(min_count)
    text = (output / "features.json").read_text()
    spec = FeatureSpec.from_json(text)
    assert [f.name for f in spec.categorical] == list(frappe.FEATURES)
    assert spec.group == "user"
    for feature in spec.categorical:
        known = ids[feature.name]
        assert feature.num_ids == 3 + len(known)
        assert feature.oov_id == 2
        assert feature.vocabulary == tuple(known)
    for split, rows in SPLITS.items():
        table = pq.read_table(output / f"{split}.parquet")
        assert table["label"].to_pylist() == [row[0] for row in rows]
        for index, name in enumerate(frappe.FEATURES, start=1):
            want = [ids[name].get(row[index], 2) for row in rows]
            assert table[name].to_pylist() == want, (split, name)
        found = ParquetSource([str(output / f"{split}.parquet")], spec)
        assert sum(len(b["user"]) for b in found.batches(2)) == len(rows)


def test_every_form_of_the_same_rows_gives_the_same_bytes(tmp_path):
    names = list(frappe_files.HEADER)
    forms = {
        "lf": write_csv(tmp_path / "lf"),
        "again": tmp_path / "lf",
        "crlf": write_csv(tmp_path / "crlf", "\r\n"),
        "reordered": write_csv(tmp_path / "reordered", names=names[::-1]),
        "libfm": write_libfm(tmp_path / "libfm"),
        "libfm_zero": write_libfm(tmp_path / "libfm_zero", no_click=0),
    }
    found = {
        name: prepared(source, tmp_path / "out" / name)
        for name, source in forms.items()
    }
    first = found.pop("lf")
    assert first.keys() == {
        "features.json",
        "train.parquet",
        "valid.parquet",
        "test.parquet",
    }
    for name, content in found.items():
        assert content == first, name


def test_an_empty_field_is_missing(tmp_path):
    train = [*SPLITS["train"], (0, "", *SPLITS["train"][0][2:])]
    source = write_csv(tmp_path / "in", splits={**SPLITS, "train": train})
    prepared(source, tmp_path / "out")
    ids = pq.read_table(tmp_path / "out" / "train.parquet")["user"].to_pylist()
    assert ids[-1] == 1
    assert "" not in (expected_ids()["user"])
    spec = FeatureSpec.from_json(
        (tmp_path / "out" / "features.json").read_text()
    )
    assert spec.categorical[0].vocabulary == tuple(expected_ids()["user"])


def test_the_log_says_whether_a_file_is_the_published_one(
    tmp_path, monkeypatch
):
    source = write_csv(tmp_path / "in")
    _, out, _ = run(source, tmp_path / "one")
    assert out.count("which is not the published file") == 3
    md5 = hashlib.md5((source / "test.csv").read_bytes())
    monkeypatch.setitem(frappe.PUBLISHED_MD5, "test", md5.hexdigest())
    _, out, _ = run(source, tmp_path / "two")
    assert out.count("which is not the published file") == 2
    assert "test.csv, which is the published file by its MD5" in out


def test_counts_and_encodes_in_parts_as_in_one(tmp_path):
    """A large file comes in several batches; rows must not be lost."""
    rng = np.random.default_rng(0)
    rows = [
        (int(rng.integers(2)), *(str(v) for v in rng.integers(0, 50, 10)))
        for _ in range(60_000)
    ]
    source = write_csv(tmp_path / "in", splits={**SPLITS, "train": rows})
    raw = frappe.find(str(source))[0]
    assert len(list(raw.batches())) > 1
    prepared(source, tmp_path / "out")
    spec = FeatureSpec.from_json(
        (tmp_path / "out" / "features.json").read_text()
    )
    table = pq.read_table(tmp_path / "out" / "train.parquet")
    for index, feature in enumerate(spec.categorical, start=1):
        back = np.array(["", "", "", *feature.vocabulary])[table[feature.name]]
        assert back.tolist() == [row[index] for row in rows]


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
            "train.csv: ",
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
    assert list((tmp_path / "made").glob("*")) == []


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
        (source, file / "out", "cannot be written"),
    ):
        code, _, err = run(folder, output)
        assert code == 2 and words in err, err
    assert list((tmp_path / "there").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in", "there"]
