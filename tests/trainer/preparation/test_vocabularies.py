"""Rows encoded with the vocabularies of an earlier preparation."""

import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainer.preparation import frappe_files
from tests.trainer.preparation.command import contents, prepared, rows, run
from wukong_tf.config import FeatureSpec, encodings

RECIPE = {
    "label": "click",
    "columns": [
        {"name": "user", "source": "user_id", "min_count": 2},
        {"name": "friend", "table": "user", "min_count": 2},
        {"name": "site", "buckets": 7},
        {"name": "tags", "separator": "|", "longest": 3},
        {"name": "price", "kind": "numeric"},
        {"name": "place", "kind": "vector", "size": 2, "separator": " "},
    ],
    "group": "user",
}
NAMES = ["click", "user_id", "friend", "site", "tags", "price", "place"]


def log(count, seed, first_user=0):
    """Rows of texts, as a CSV file holds them."""
    draw = np.random.default_rng(seed)

    def user():
        number = int(draw.zipf(1.5)) % 40 + first_user
        return "" if draw.random() < 0.1 else f"u{number}"

    return [
        {
            "click": str(int(draw.integers(2))),
            "user_id": user(),
            "friend": user(),
            "site": f"s{int(draw.integers(20))}" if draw.random() > 0.1 else "",
            "tags": "|".join(
                f"t{int(draw.integers(9 + seed))}"
                for _ in range(int(draw.integers(4)))
            ),
            "price": f"{draw.exponential(9.0):.3f}"
            if draw.random() > 0.2
            else "",
            "place": f"{draw.normal():.2f} {draw.normal():.2f}",
        }
        for _ in range(count)
    ]


def write_csv(path, lines, names=NAMES):
    path.parent.mkdir(exist_ok=True)
    text = [",".join(names)]
    text += [",".join(line[name] for name in names) for line in lines]
    path.write_text("\n".join(text) + "\n")
    return path


def as_table(lines):
    """The same rows as Parquet holds them."""
    columns = {name: [line[name] or None for line in lines] for name in NAMES}
    columns["click"] = [
        int(text) if text else None for text in columns["click"]
    ]
    columns["price"] = [x and float(x) for x in columns["price"]]
    return pa.table(columns)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A preparation, its log's folder and the rows of its train file."""
    folder = tmp_path_factory.mktemp("earlier")
    splits = {"train": log(400, 0), "valid": log(90, 1), "test": log(80, 2)}
    for split, lines in splits.items():
        write_csv(folder / "in" / f"{split}.csv", lines)
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    options = [f"--recipe={folder / 'recipe.json'}", "--oov_buckets=3"]
    prepared("csv", folder / "in", folder / "out", *options)
    return folder / "out", folder / "in", splits


def ids(text, known):
    """The id of a text by a plain list of words, out of 3 buckets else."""
    if not text:
        return 1
    if text in known:
        return 5 + known.index(text)
    return 2 + int(tf.strings.to_hash_bucket_fast([text], 3)[0])


def group(text):
    """The group of a user that is text, or none."""
    if not text:
        return -(2**63)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return 2**62 + int.from_bytes(digest) // 4


def expected(lines, train):
    """What the rows must become, by sets and counts of the train rows."""

    def vocabulary(texts, least):
        seen = {text: texts.count(text) for text in texts if text}
        kept = [text for text, count in seen.items() if count >= least]
        return sorted(kept, key=lambda t: (-seen[t], len(t), t))

    users = [x for line in train for x in (line["user_id"], line["friend"])]
    users = vocabulary(users, 2)
    tags = [tag for line in train for tag in line["tags"].split("|")]
    tags = vocabulary(tags, 1)
    return {
        "click": [
            int(line["click"]) if line["click"] else None for line in lines
        ],
        "user": [ids(line["user_id"], users) for line in lines],
        "user_group": [group(line["user_id"]) for line in lines],
        "friend": [ids(line["friend"], users) for line in lines],
        "site": [
            2 + int(tf.strings.to_hash_bucket_fast([line["site"]], 7)[0])
            if line["site"]
            else 1
            for line in lines
        ],
        "tags": [
            [ids(tag, tags) for tag in line["tags"].split("|") if tag]
            for line in lines
        ],
        "price": [
            float(np.float32(line["price"])) if line["price"] else None
            for line in lines
        ],
        "place": [
            [float(np.float32(x)) for x in line["place"].split()]
            for line in lines
        ],
    }


def check(output, lines, earlier, split="test", label=True):
    """What was made of `lines` is what it must be, and carries its origin."""
    before, _, splits = earlier
    want = expected(lines, splits["train"])
    if label:
        want["label"] = want["click"]
    del want["click"]
    assert rows(output, split) == want
    files = contents(before)
    for name in ("features.json", "recipe.json"):
        assert (output / name).read_bytes() == files[name]
    spec = FeatureSpec.from_json(files["features.json"].decode())
    for path in output.glob("*.parquet"):
        found = encodings.read(pq.read_schema(path).metadata)
        assert found == encodings.from_spec(spec)
    manifests = [
        json.loads((folder / "manifest.json").read_text())
        for folder in (before, output)
    ]
    assert manifests[0]["preparation"] == manifests[1]["preparation"]


TOMORROW = log(120, 3, first_user=15)


def test_a_file_of_any_name_is_encoded_row_by_row(earlier, tmp_path):
    path = write_csv(tmp_path / "day-2.csv", TOMORROW)
    output = tmp_path / "out"
    spec, manifest = prepared(
        "csv", path, output, f"--vocabularies={earlier[0]}"
    )
    check(output, TOMORROW, earlier)
    assert manifest["rows"] == {"train": 0, "valid": 0, "test": 120}
    assert manifest["inputs"][0]["file"] == "day-2.csv"
    assert spec.numeric[0].mean != 0


def test_labels_may_be_missing_and_columns_in_any_order(earlier, tmp_path):
    """A file without the label's column, and one with some labels."""
    names = [*NAMES[:0:-1], "else"]
    lines = [{**line, "else": "x"} for line in TOMORROW]
    path = write_csv(tmp_path / "a.csv", lines, names)
    option = f"--vocabularies={earlier[0]}"
    prepared("csv", path, tmp_path / "none", option)
    check(tmp_path / "none", TOMORROW, earlier, label=False)
    some = [
        {**line, "click": "" if number % 3 else line["click"]}
        for number, line in enumerate(TOMORROW)
    ]
    path = write_csv(tmp_path / "b.csv", some)
    prepared("csv", path, tmp_path / "some", option)
    check(tmp_path / "some", some, earlier)
    pq.write_table(as_table(some), tmp_path / "c.parquet", row_group_size=50)
    path = tmp_path / "c.parquet"
    prepared("parquet", path, tmp_path / "parquet", option)
    check(tmp_path / "parquet", some, earlier)


def test_the_same_files_become_what_they_were(earlier, tmp_path):
    before, source, splits = earlier
    output = tmp_path / "out"
    prepared("csv", source, output, f"--vocabularies={before}")
    for split, lines in splits.items():
        check(output, lines, earlier, split)
        assert rows(output, split) == rows(before, split)


def test_files_of_a_folder_follow_each_other_by_name(earlier, tmp_path):
    """Whatever their kinds, sizes and the cuts; parts without rows too."""
    source = tmp_path / "in"
    parts = [log(3000, seed) for seed in (4, 5, 6)]
    for name, part in zip(("a", "c", "d"), parts, strict=True):
        write_csv(source / f"{name}.csv", part)
    write_csv(source / "b.csv", [])
    (source / "e.csv").write_text("")
    (source / "notes.md").write_text("none of the log")
    option = f"--vocabularies={earlier[0]}"
    code, said, err = run("csv", source, tmp_path / "out", option)
    assert code == 0, err
    assert "b.csv: there are no rows" in said
    lines = sum(parts, [])
    check(tmp_path / "out", lines, earlier)


def test_a_file_named_by_its_split_stays_in_it(earlier, tmp_path):
    source = tmp_path / "in"
    for number, split in enumerate(("train", "valid", "test")):
        write_csv(source / f"{split}-2.csv", log(60, 7 + number))
    output = tmp_path / "out"
    _, manifest = prepared(
        "csv", source, output, f"--vocabularies={earlier[0]}"
    )
    assert manifest["rows"] == {"train": 60, "valid": 60, "test": 60}
    for number, split in enumerate(("train", "valid", "test")):
        check(output, log(60, 7 + number), earlier, split)


def test_what_was_encoded_so_goes_on_to_be_an_earlier_one(earlier, tmp_path):
    path = write_csv(tmp_path / "a.csv", TOMORROW)
    option = f"--vocabularies={earlier[0]}"
    prepared("csv", path, tmp_path / "two", option)
    option = f"--vocabularies={tmp_path / 'two'}"
    prepared("csv", path, tmp_path / "three", option)
    check(tmp_path / "three", TOMORROW, earlier)


@pytest.mark.parametrize("form", ["csv", "libfm"])
def test_a_known_data_set_s_files_need_not_all_be_there(form, tmp_path):
    write = {"csv": frappe_files.write_csv, "libfm": frappe_files.write_libfm}
    source = write[form](tmp_path / "in")
    prepared("frappe", source, tmp_path / "first")
    kept = tmp_path / "kept"
    kept.mkdir()
    (name,) = [p for p in source.iterdir() if "test" in p.name]
    shutil.copy(name, kept)
    option = f"--vocabularies={tmp_path / 'first'}"
    prepared("frappe", kept, tmp_path / "out", option)
    one, other = tmp_path / "first", tmp_path / "out"
    assert rows(one, "test") == rows(other, "test")
    assert not rows(other, "train")


@pytest.mark.parametrize(
    "flag",
    [
        "--recipe=x",
        "--label=click",
        "--separator=|",
        "--extend=x",
        "--min_count=2",
        "--max_vocabulary=2",
        "--oov_buckets=3",
    ],
)
def test_flags_that_shape_vocabularies_are_refused(flag, earlier, tmp_path):
    path = write_csv(tmp_path / "a.csv", TOMORROW)
    option = f"--vocabularies={earlier[0]}"
    code, _, err = run("csv", path, tmp_path / "out", option, flag)
    assert code == 2
    name = flag.split("=")[0]
    assert f"error: {name} contradicts --vocabularies=" in err


def _without(name):
    def change(folder):
        (folder / name).unlink()

    return change


def _changed(name, change):
    def changed(folder):
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))

    return changed


@pytest.mark.parametrize(
    "change, expected",
    [
        (shutil.rmtree, "there is no features.json"),
        (_without("features.json"), "there is no features.json"),
        (_without("recipe.json"), "there is no recipe.json"),
        (
            _changed("recipe.json", lambda r: r["columns"].pop()),
            "of different preparations: feature 'place'",
        ),
        (
            _changed("recipe.json", lambda r: r["columns"][2].pop("buckets")),
            "of different preparations: feature 'site'",
        ),
        (
            _changed("recipe.json", lambda r: r["columns"][1].pop("table")),
            "of different preparations: feature 'friend'",
        ),
        (
            _changed("features.json", lambda r: r["numeric"].pop()),
            "of different preparations: feature 'price'",
        ),
        (
            _changed(
                "features.json",
                lambda r: r["categorical"][3].update(oov_buckets=2),
            ),
            "must agree in `oov_buckets`",
        ),
    ],
)
def test_an_earlier_preparation_that_is_not_whole_is_refused(
    change, expected, earlier, tmp_path
):
    path = write_csv(tmp_path / "a.csv", TOMORROW)
    shutil.copytree(earlier[0], tmp_path / "before")
    change(tmp_path / "before")
    option = f"--vocabularies={tmp_path / 'before'}"
    code, _, err = run("csv", path, tmp_path / "out", option)
    assert code == 2 and f"error: {option}" in err and expected in err, err
    assert not list(tmp_path.glob("out*"))


def test_rows_that_break_a_rule_are_named(earlier, tmp_path):
    option = f"--vocabularies={earlier[0]}"
    for name, bad, expected in (
        ("click", "maybe", "line 6, column 'click': must be one of 0"),
        ("price", "cheap", "line 6, column 'price': must be"),
        ("price", "-1e20", "line 6, column 'price': must be a number in [-2**"),
        ("place", "1", "line 6, column 'place': must be 2 finite numbers"),
        ("place", "1 1e19", "line 6, column 'place': must be 2 numbers in [-2"),
    ):
        lines = [dict(line) for line in TOMORROW]
        lines[4][name] = bad
        path = write_csv(tmp_path / "a.csv", lines)
        code, _, err = run("csv", path, tmp_path / "out", option)
        assert code == 2 and f"a.csv: {expected}" in err, err
    path = write_csv(tmp_path / "a.csv", TOMORROW, NAMES[:-1])
    code, _, err = run("csv", path, tmp_path / "out", option)
    assert code == 2 and "a.csv: column 'place' is missing" in err
    path = write_csv(tmp_path / "a.csv", [])
    code, _, err = run("csv", path, tmp_path / "out", option)
    assert code == 2 and "there are no rows" in err
    code, _, err = run("csv", tmp_path / "no.csv", tmp_path / "out", option)
    assert code == 2 and "there is no such file or directory" in err


def test_an_interrupted_encoding_goes_on(earlier, tmp_path, monkeypatch):
    from trainer.preparation import tasks

    source = tmp_path / "in"
    for name in "abc":
        write_csv(source / f"{name}.csv", log(50, ord(name)))
    option = f"--vocabularies={earlier[0]}"
    original, calls = tasks.encode, []

    def stopping(made, item):
        calls.append(item)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(made, item)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "encode", stopping)
        code, _, err = run("csv", source, tmp_path / "out", option)
        assert code == 130, err
    code, said, err = run("csv", source, tmp_path / "out", option)
    assert code == 0 and "resuming from" in said, err
    check(tmp_path / "out", sum((log(50, ord(n)) for n in "abc"), []), earlier)


def test_vectors_by_key_need_a_data_set_that_has_them(tmp_path):
    path = write_csv(tmp_path / "in" / "train.csv", TOMORROW)
    column = {"name": "place", "kind": "vector", "size": 2, "key": "user_id"}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"label": "click", "columns": [column]}))
    option = f"--recipe={recipe}"
    code, _, err = run("csv", path.parent, tmp_path / "out", option)
    assert code == 2 and "column 'place': `key` is for vectors in a" in err
