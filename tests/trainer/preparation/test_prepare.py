"""Shards, stops, errors and other logs: how a preparation goes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
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
from tests.trainer.preparation.frappe_files import SPLITS, write_csv
from trainer import prepare
from trainer.preparation import job, outputs, reading, tasks

ROOT = Path(prepare.__file__).parent.parent


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Files that small shards cut many times."""
    draw = np.random.default_rng(0)
    splits = {
        split: [
            (int(draw.integers(2)), *(str(v) for v in draw.zipf(1.5, 10) % 99))
            for _ in range(count)
        ]
        for split, count in (("train", 60_000), ("valid", 9000), ("test", 9000))
    }
    folder = tmp_path_factory.mktemp("large") / "in"
    return write_csv(folder, splits=splits), splits


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


def test_an_interrupted_preparation_goes_on(large, tmp_path, monkeypatch):
    source, _ = large
    prepared("frappe", source, tmp_path / "whole", "--shard_mb=1")
    for stop_at in ("count", "make_vocabulary", "encode"):
        original = getattr(tasks, stop_at)
        calls = []

        def stopping(made, item, original=original, calls=calls):
            calls.append(item)
            if len(calls) == 3:
                # As if a process had been killed while it wrote.
                part = made.path("output", "train-00000", "parquet")
                Path(f"{part}.unfinished-1").touch()
                raise KeyboardInterrupt
            original(made, item)

        output = tmp_path / stop_at
        monkeypatch.setattr(tasks, stop_at, stopping)
        code, _, err = run("frappe", source, output, "--shard_mb=1")
        assert code == 130 and "the same command resumes" in err
        assert not output.exists()
        monkeypatch.setattr(tasks, stop_at, original)
        done = []
        monkeypatch.setattr(
            reading,
            "read",
            lambda shard, names, read=reading.read, done=done: (
                done.append(shard.number) or read(shard, names)
            ),
        )
        code, said, err = run("frappe", source, output, "--shard_mb=1")
        monkeypatch.undo()
        assert code == 0, err
        assert "resuming from" in said
        total = len(json.loads((output / "manifest.json").read_text())["files"])
        assert len(done) <= 2 * total - 2
        assert contents(output) == contents(tmp_path / "whole")
        assert not Path(f"{output}.unfinished").exists()


@pytest.mark.parametrize(
    "name, content",
    [
        ("plan.json", b"\0"),
        ("files/00000.json", b"{"),
        ("files/00000.json", b"[]"),
        ("counts/00000.parquet", b"PAR1"),
        ("vocabulary/*.parquet", b""),
        ("done/00000.json", b"[3]"),
    ],
)
def test_spoilt_unfinished_work_is_named(tmp_path, monkeypatch, name, content):
    source = write_csv(tmp_path / "in")
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        full = mock.Mock(side_effect=OSError("full"))
        patch.setattr(outputs, "publish", full)
        assert run("frappe", source, output)[0] == 2
    job._read_vocabularies.cache_clear()  # as in another process
    (path, *_) = Path(f"{output}.unfinished").glob(name)
    path.write_bytes(content)
    code, _, err = run("frappe", source, output)
    assert code == 2 and str(path) in err, err
    if path.name == "plan.json":
        assert f"Remove {path.parent}, which holds unfinished work" in err
        shutil.rmtree(path.parent)
    else:
        assert "Remove it; the same command makes it again." in err
        path.unlink()
    code, _, err = run("frappe", source, output)
    assert code == 0, err


@pytest.mark.slow
def test_a_killed_preparation_goes_on(large, tmp_path):
    source, _ = large
    prepared("frappe", source, tmp_path / "whole", "--shard_mb=1")
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "trainer.prepare", "--dataset=frappe"]
    command += [f"--input={source}", "--shard_mb=1", "--workers=1"]
    command += [f"--output={output}"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    counts = Path(f"{output}.unfinished") / "counts"
    for _ in range(600):
        if counts.is_dir() and len(list(counts.iterdir())) > 1:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, said, err = run("frappe", source, output, "--shard_mb=1")
    assert code == 0, err
    if not output.exists():
        raise AssertionError(said)
    assert contents(output) == contents(tmp_path / "whole")


def _end_at_once(made, item):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.full
def test_a_killed_worker_is_said_and_the_work_kept(
    large, tmp_path, monkeypatch
):
    source, _ = large
    options = ("--shard_mb=1", "--workers=2")
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "encode", _end_at_once)
        code, _, err = run("frappe", source, tmp_path / "out", *options)
    assert code == 2 and "a process was killed" in err
    code, said, err = run("frappe", source, tmp_path / "out", *options)
    assert code == 0 and "resuming from" in said, err


def test_unfinished_work_of_other_flags_is_not_gone_on_with(
    large, tmp_path, monkeypatch
):
    source, _ = large

    def stop(made, item):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "encode", stop)
        run("frappe", source, tmp_path / "out", "--shard_mb=1")
    code, _, err = run("frappe", source, tmp_path / "out", "--shard_mb=2")
    assert code == 2 and "unfinished work of other flags" in err
    assert (tmp_path / "out.unfinished").exists()


def test_two_at_once_are_refused(large, tmp_path, monkeypatch):
    source, _ = large
    errors = []
    original = tasks.count

    def second(made, item):
        if not errors:
            errors.append(run("frappe", source, tmp_path / "out"))
        original(made, item)

    monkeypatch.setattr(tasks, "count", second)
    code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 0, err
    assert errors[0][0] == 2 and "in use by another process" in errors[0][2]


@pytest.mark.parametrize(
    "place", ["os.rename", "pyarrow.parquet.ParquetWriter"]
)
def test_a_disk_that_fails_is_named_and_the_work_kept(
    place, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    source = write_csv(tmp_path / "in")
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 2
    assert err.startswith(f"error: --output={tmp_path / 'out'} cannot be")
    assert "No space left on device" in err and "resumes" in err
    assert not (tmp_path / "out").exists()
    prepared("frappe", source, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


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


def any_log(rows_, seed):
    """Columns of every kind that a log may have."""
    draw = np.random.default_rng(seed)
    return {
        "click": (draw.random(rows_) < 0.3).astype(int).tolist(),
        "id": list(range(rows_)),
        "user_id": draw.integers(10**9, 10**9 + 40, rows_).tolist(),
        "city": [
            ["berlin", "accra", "", "東京, 港区"][each]
            for each in draw.integers(0, 4, rows_)
        ],
        "zip": [f"0{each}" for each in draw.integers(100, 120, rows_)],
        "price": draw.exponential(9.0, rows_).round(2).tolist(),
        "hour": draw.integers(0, 24, rows_).tolist(),
        "tags": [
            "|".join(f"t{each}" for each in draw.integers(0, 6, count))
            for count in draw.integers(0, 4, rows_)
        ],
    }


def write_any(folder, kind):
    folder.mkdir()
    for seed, (split, count) in enumerate((("train", 900), ("test", 200))):
        data = any_log(count, seed)
        if kind == "parquet":
            data["tags"] = [t.split("|") if t else [] for t in data["tags"]]
            data["image"] = [[0.5, 1.0]] * count
            table = pa.table(data)
            pq.write_table(
                table, folder / f"{split}.parquet", row_group_size=99
            )
            continue
        mark = "," if kind == "csv" else "\t"

        def quoted(value, mark=mark):
            text = str(value)
            return f'"{text}"' if mark in text else text

        lines = [mark.join(data)]
        lines += [
            mark.join(map(quoted, row))
            for row in zip(*data.values(), strict=True)
        ]
        (folder / f"{split}.{kind}").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_any_log_is_guessed_and_prepared(kind, tmp_path):
    source = write_any(tmp_path / "in", kind)
    dataset = "parquet" if kind == "parquet" else "csv"
    more = [] if kind == "parquet" else ["--separator=|"]
    spec, manifest = prepared(dataset, source, tmp_path / "out", *more)
    kinds = {f.name: "bag" if f.pooling else "id" for f in spec.categorical}
    assert kinds == {
        "user_id": "id",
        "city": "id",
        "zip": "id",
        "hour": "id",
        "tags": "bag",
    }
    assert [f.name for f in spec.numeric] == ["price"]
    assert [f.name for f in spec.vector] == ["image"] * (kind == "parquet")
    # There were no valid rows: each 20th train row is one.
    assert manifest["rows"] == {"train": 855, "valid": 45, "test": 200}
    data = any_log(200, 1)
    found = rows(tmp_path / "out", "test")
    city = words(spec, "city")
    assert [city[i] or "" for i in found["city"]] == data["city"]
    tags = words(spec, "tags")
    assert ["|".join(tags[i] for i in bag) for bag in found["tags"]] == (
        data["tags"]
    )
    np.testing.assert_allclose(found["price"], data["price"], rtol=1e-6)


def test_a_recipe_says_what_is_made(tmp_path):
    source = write_any(tmp_path / "in", "csv")
    recipe = {
        "label": "click",
        "columns": [
            {"name": "user", "source": "user_id", "buckets": 50},
            {"name": "city", "min_count": 2},
            {"name": "tags", "separator": "|", "longest": 2},
            {"name": "price", "kind": "numeric", "transform": "none"},
        ],
        "group": "user",
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    spec, _ = prepared(
        "csv", source, tmp_path / "out", f"--recipe={path}", "--oov_buckets=3"
    )
    names = [f.name for f in spec.categorical]
    assert names == ["user", "city", "tags"] and spec.group == "user_group"
    user, city, tags = spec.categorical
    assert (user.num_ids, user.vocabulary, user.oov_buckets) == (52, None, 1)
    assert city.oov_buckets == 3 and city.first_id == 5
    assert tags.max_ids == 2
    found = rows(tmp_path / "out", "test")
    known = words(spec, "tags")
    wanted = [t.split("|")[:2] if t else [] for t in any_log(200, 1)["tags"]]
    assert [[known[i] for i in bag] for bag in found["tags"]] == wanted
    assert all(2 <= each < 52 for each in found["user"])
    written = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert written["columns"][0] == recipe["columns"][0]


@pytest.mark.parametrize(
    "recipe, expected",
    [
        ("{", "not valid JSON"),
        ('{"columns": []}', "at least one"),
        ('{"columns": [{"name": "a", "kind": "id"}]}', "`kind` must be one"),
        ('{"columns": [{"name": "a", "rule": "log3"}]}', "`rule`"),
        (
            '{"columns": [{"name": "a", "separator": "|"}]}',
            "need `longest`",
        ),
        ('{"columns": [{"name": "a"}, {"name": "a"}]}', "defined twice"),
        ('{"columns": [{"name": "label"}]}', "is also a feature"),
        ('{"columns": [{"name": "a"}], "group": "b"}', "`group`"),
        ('{"columns": [{"name": "v", "kind": "vector"}]}', "`size`"),
        (
            '{"columns": [{"name": "a", "buckets": 5}, '
            '{"name": "b", "table": "a"}]}',
            "must agree in `buckets`",
        ),
        ('{"columns": [{"name": "nowhere"}], "label": "click"}', "'nowhere'"),
    ],
)
def test_a_recipe_that_breaks_a_rule_is_refused(recipe, expected, tmp_path):
    source = write_any(tmp_path / "in", "csv")
    path = tmp_path / "recipe.json"
    path.write_text(recipe)
    code, _, err = run("csv", source, tmp_path / "out", f"--recipe={path}")
    assert code == 2 and expected in err, err


def test_flags_of_a_guess_contradict_a_recipe(tmp_path):
    source = write_any(tmp_path / "in", "csv")
    for name in ("label", "separator"):
        flags = ("--recipe=there.json", f"--{name}=x")
        code, _, err = run("csv", source, tmp_path / "out", *flags)
        assert code == 2 and f"--{name} is for a guess and" in err, err


def test_a_recipe_that_was_guessed_is_readable(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "train.csv").write_text("Größe,label\na,0\nb,1\n")
    prepared("csv", source, tmp_path / "out")
    text = (tmp_path / "out" / "recipe.json").read_text("utf-8")
    assert '"Größe"' in text


def test_labels_in_other_words_are_named_by_flags(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    rows = "".join(f"{'nein' if n % 3 else 'Ja'},u{n % 7}\n" for n in range(90))
    (source / "train.csv").write_text("label,user\n" + rows)
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2 and "--positives" in err and "received 'Ja'" in err
    named = ("--positives=ja,Ja", "--negatives=nein")
    prepared("csv", source, tmp_path / "out", *named)
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["positives"] == ["ja", "Ja"]
    assert recipe["negatives"] == ["nein"]
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    code, _, err = run(
        "csv", source, tmp_path / "o", f"--recipe={file}", *named
    )
    assert code == 2 and "--negatives is for a guess" in err


def test_a_log_without_a_label_or_train_rows_is_refused(tmp_path):
    source = write_any(tmp_path / "in", "csv")
    code, _, err = run("csv", source, tmp_path / "out", "--label=bought")
    assert code == 2 and "no label" in err and "user_id" in err
    (source / "train.csv").unlink()
    code, _, err = run("csv", source, tmp_path / "out")
    assert code == 2 and "there is no train file; looked for train*.csv" in err


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
