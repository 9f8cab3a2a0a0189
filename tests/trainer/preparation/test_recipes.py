"""Recipes: guessed, edited, and refused if they break a rule."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import (
    prepared,
    rows,
    run,
    words,
)


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
