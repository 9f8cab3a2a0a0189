"""What stands for 0 and 1, in text and in Parquet."""

import decimal
import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared, rows, run

PAIRS = [  # what stands for 0, for 1
    ("0", "1"),
    ("0.0", "1.0"),
    ("0.000", "1."),
    ("no", "yes"),
    ("No", "YES"),
    ("n", "y"),
    ("N", "Y"),
    ("false", "true"),
    ("False", "True"),
    ("f", "t"),
    (" 0", "1 "),
]
PATTERN = [0, 1, 1, 0, 1, 0, 0, 0, 1] * 5


def write_log(folder, labels, kind="csv", label="label"):
    """A train and a valid file of the same rows."""
    folder.mkdir()
    for split in ("train", "valid"):
        if kind == "csv":
            text = f"{label},user\n"
            text += "".join(f"{v},u{i % 3}\n" for i, v in enumerate(labels))
            (folder / f"{split}.csv").write_text(text)
        else:
            users = [f"u{i % 3}" for i in range(len(labels))]
            table = pa.table({label: labels, "user": users})
            pq.write_table(table, folder / f"{split}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_texts_that_stand_for_0_and_1(kind, tmp_path):
    labels = [pair[i] for pair in PAIRS for i in PATTERN]
    source = write_log(tmp_path / "in", labels, kind)
    _, manifest = prepared(kind, source, tmp_path / "out")
    assert rows(tmp_path / "out", "train")["label"] == PATTERN * len(PAIRS)
    rate = sum(PATTERN) / len(PATTERN)
    assert manifest["statistics"]["label_rate"] == pytest.approx(rate)


@pytest.mark.parametrize(
    "kind",
    [
        pa.bool_(),
        pa.int8(),
        pa.uint64(),
        pa.float16(),
        pa.float32(),
        pa.float64(),
        pa.decimal128(5, 2),
        pa.decimal128(30, 20),
    ],
)
def test_arrow_types_that_stand_for_0_and_1(kind, tmp_path):
    plain = PATTERN
    if pa.types.is_decimal(kind):
        plain = [decimal.Decimal(i) for i in PATTERN]
    labels = pa.array(plain).cast(kind)
    source = write_log(tmp_path / "in", labels, "parquet")
    prepared("parquet", source, tmp_path / "out")
    assert rows(tmp_path / "out", "train")["label"] == PATTERN


@pytest.mark.parametrize("bad", ["bought", "2", "0.5", "-1", "", "1_0", "１"])
def test_another_text_is_refused_and_positives_named(bad, tmp_path):
    kind = "csv" if bad.isascii() else "parquet"
    labels = [str(i) for i in PATTERN]
    labels[11] = bad
    source = write_log(tmp_path / "in", labels, kind)
    code, _, err = run(kind, source, tmp_path / "out")
    place = "line 13" if kind == "csv" else "row 11 (from 0)"
    assert code == 2, err
    assert f"train.{kind}: {place}, column 'label': must be one of 0" in err
    assert "`positives`" in err and f"received {bad!r}" in err


@pytest.mark.parametrize("bad", [math.nan, None, 0.5, math.inf, 2.0])
def test_a_float_label_that_is_none_is_refused(bad, tmp_path):
    labels = [float(i) for i in PATTERN]
    labels[7] = bad
    source = write_log(tmp_path / "in", pa.array(labels), "parquet")
    code, _, err = run("parquet", source, tmp_path / "out")
    assert code == 2
    assert "train.parquet: row 7 (from 0), column 'label': must be" in err
    assert f"received {bad!r}" in err


def test_labels_of_a_type_that_holds_none_are_refused(tmp_path):
    source = write_log(tmp_path / "in", [[i] for i in PATTERN], "parquet")
    code, _, err = run("parquet", source, tmp_path / "out")
    assert code == 2 and "column 'label': labels must be strings" in err


def with_recipe(tmp_path, labels, **fields):
    source = write_log(tmp_path / "in", labels, label="stars")
    path = tmp_path / "recipe.json"
    recipe = {"label": "stars", "columns": [{"name": "user"}], **fields}
    path.write_text(json.dumps(recipe))
    return run("csv", source, tmp_path / "out", f"--recipe={path}")


def test_a_recipe_names_its_own(tmp_path):
    stars = ["1", "4", "5.0", "2", "5", "3", "1", "2.0", "4"] * 5
    fields = {"negatives": ["1", "2", "3"], "positives": ["4", "5"]}
    code, _, err = with_recipe(tmp_path, stars, **fields)
    assert code == 0, err
    want = [int(float(text) > 3) for text in stars]
    assert rows(tmp_path / "out", "train")["label"] == want


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"positives": ["no"]}, "['no'] are among `negatives`"),
        ({"positives": [1]}, "`positives` must hold one string"),
        ({"negatives": []}, "`negatives` must hold one string"),
        ({"positives": ["5"]}, "one of 0, false, f, no, n, 5;"),
    ],
)
def test_names_that_contradict_are_refused(fields, expected, tmp_path):
    code, _, err = with_recipe(tmp_path, ["0", "5", "1"] * 9, **fields)
    assert code == 2 and expected in err, err


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_recipe_without_its_label_says_where_to_name_it(kind, tmp_path):
    source = write_log(tmp_path / "in", PATTERN, kind, label="bought")
    recipe = tmp_path / "recipe.json"
    columns = [{"name": "user", "kind": "categorical"}]
    recipe.write_text(json.dumps({"columns": columns}))
    output = tmp_path / "out"
    code, _, err = run(kind, source, output, f"--recipe={recipe}")
    assert code == 2 and not output.exists()
    assert (
        f"train.{kind}: the recipe's label, column 'label', is missing; there "
        "are bought, user. Name it by `label` in the recipe"
    ) in err
    recipe.write_text(json.dumps({"columns": columns, "label": "bought"}))
    prepared(kind, source, output, f"--recipe={recipe}")
