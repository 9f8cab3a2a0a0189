"""Parquet as pandas and polars write it, prepared as plain Python says."""

import datetime
import decimal
import json
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.preparation.command import prepared, rows, run, words

N = 60
LABELS = [i % 3 == 0 for i in range(N)]
IDS = [None if i % 7 == 0 else i % 5 for i in range(N)]
CITIES = [None if i % 11 == 0 else ["b", "東京", ""][i % 3] for i in range(N)]
PRICES = [None if i % 6 == 0 else i / 4 for i in range(N)]
TAGS = [None if i % 9 == 0 else ["x", "y"][: i % 3] for i in range(N)]
DECIMALS = [None if p is None else decimal.Decimal(str(p)) for p in PRICES]


def of_pandas(path):
    frame = pd.DataFrame(
        {
            "label": np.array(LABELS, float),
            "id": pd.array(IDS, "Float64").to_numpy(float, na_value=np.nan),
            "city": pd.Categorical(CITIES),
            "price": np.array(PRICES, float),
            "half": np.array(PRICES, float).astype(np.float16),
            "money": DECIMALS,
            "tags": TAGS,
            "none": [None] * N,
            "code": pd.array(IDS, "Int64"),
        }
    )
    frame.to_parquet(path)


def of_polars(path):
    frame = pl.DataFrame(
        {
            "label": pl.Series(LABELS),
            "id": pl.Series(IDS, dtype=pl.Float32),
            "city": pl.Series(CITIES, dtype=pl.Enum(["", "b", "東京"])),
            "price": pl.Series(PRICES),
            "half": pl.Series(PRICES, dtype=pl.Float32),
            "money": pl.Series(DECIMALS),
            "tags": pl.Series(TAGS, dtype=pl.List(pl.Categorical)),
            "none": pl.Series([None] * N, dtype=pl.Null),
            "code": pl.Series(IDS, dtype=pl.UInt8),
        }
    )
    frame.write_parquet(path)


def of_arrow(path):
    text = pa.array(CITIES, pa.string())
    columns = {
        "label": pa.array(LABELS),
        "id": pa.array(IDS, pa.int64()).dictionary_encode(),
        "city": text.cast(pa.large_string()).cast(pa.string_view()),
        "price": pa.array(PRICES),
        "half": pa.array(PRICES, pa.float16()),
        "money": pa.array(DECIMALS, pa.decimal256(50, 6)),
        "tags": pa.array(TAGS, pa.large_list(pa.large_string())),
        "none": pa.array([None] * N, pa.string()),
        "code": pa.array([None if i is None else b"%d" % i for i in IDS]),
    }
    pq.write_table(pa.table(columns), path, row_group_size=17)


RECIPE = {
    "columns": [
        {"name": "id"},
        {"name": "city"},
        {"name": "tags", "longest": 2},
        {"name": "none"},
        {"name": "code"},
        *(
            {"name": name, "kind": "numeric", "transform": "none"}
            for name in ("price", "half", "money")
        ),
    ]
}


@pytest.mark.parametrize("write", [of_pandas, of_polars, of_arrow])
def test_frames_become_what_their_python_values_say(write, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for split in ("train", "valid"):
        write(source / f"{split}.parquet")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    spec, manifest = prepared(
        "parquet", source, tmp_path / "out", f"--recipe={recipe}"
    )
    found = rows(tmp_path / "out", "valid")
    assert found["label"] == [int(label) for label in LABELS]
    for name, wanted in (("id", IDS), ("code", IDS), ("city", CITIES)):
        known = words(spec, name)
        wanted = [None if v in (None, "") else str(v) for v in wanted]
        assert [known[i] for i in found[name]] == wanted
        assert sorted(known[3:]) == sorted({v for v in wanted if v})
        missing = manifest["statistics"]["columns"][name]["missing"]
        assert missing == wanted.count(None)
    tags = words(spec, "tags")
    assert [[tags[i] for i in bag] for bag in found["tags"]] == [
        each or [] for each in TAGS
    ]
    assert set(found["none"]) == {1} and words(spec, "none")[3:] == []
    there = [price for price in PRICES if price is not None]
    for name in ("price", "half", "money"):
        assert found[name] == pytest.approx(PRICES)
        moments = manifest["statistics"]["columns"][name]
        assert moments["mean"] == pytest.approx(np.mean(there), rel=1e-3)
        assert moments["count"] == len(there)
    # The same is guessed without a recipe, but that small numbers are ids.
    guessed, _ = prepared("parquet", source, tmp_path / "guessed")
    kinds = {f.name for f in guessed.numeric}
    assert kinds == {"price", "half", "money"}


@pytest.mark.parametrize(
    "column, kind, named",
    [
        (pa.array([{"a": 1}] * N), "categorical", "struct<a: int64>"),
        (
            pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int8())),
            "categorical",
            "map<string, int8",
        ),
        (pa.array([[1]] * N), "categorical", "needs `longest`"),
        (pa.array([1] * N, pa.duration("s")), "categorical", "duration"),
        (pa.array([datetime.date(2020, 1, 1)] * N), "numeric", "date32"),
        (pa.array([1.5] * N), "vector", "string, which is not a list"),
    ],
)
def test_a_type_is_refused_before_any_row_is_read(
    column, kind, named, tmp_path
):
    source = tmp_path / "in"
    source.mkdir()
    good = {"label": pa.array([0, 1] * (N // 2)), "x": pa.array(["a"] * N)}
    pq.write_table(pa.table(good), source / "train.parquet")
    # The first row of the second file breaks a rule too, which none reads.
    bad = {"label": pa.array([5] * N), "x": column}
    pq.write_table(pa.table(bad), source / "valid.parquet")
    recipe = tmp_path / "recipe.json"
    more = {"vector": {"size": 2, "separator": None}}.get(kind, {})
    made = {"name": "x", "kind": kind, **more}
    recipe.write_text(json.dumps({"columns": [made]}))
    code, _, err = run(
        "parquet", source, tmp_path / "out", f"--recipe={recipe}"
    )
    where = source / ("train.parquet" if kind == "vector" else "valid.parquet")
    assert code == 2 and f"error: {where}: column 'x' cannot be" in err, err
    assert named in err
    assert not (tmp_path / "out.unfinished").exists()


def test_views_are_read_where_rows_of_a_shard_are_divided(tmp_path):
    """Without valid rows, each 20th train row is one; Arrow filters no view."""
    source = tmp_path / "in"
    source.mkdir()
    words = [f"w{row % 7}" for row in range(60)]
    table = pa.table(
        {"label": [0, 1] * 30, "x": pa.array(words, pa.string_view())}
    )
    pq.write_table(table, source / "train.parquet")
    spec, _ = prepared("parquet", source, tmp_path / "out", "--label=label")
    vocabulary = spec.vocabulary("x")
    assert set(vocabulary) == set(words)
    for split, places in (
        ("valid", range(0, 60, 20)),
        ("train", [row for row in range(60) if row % 20]),
    ):
        found = rows(tmp_path / "out", split)["x"]
        assert [vocabulary[each - 3] for each in found] == [
            words[place] for place in places
        ]


@pytest.mark.parametrize("names", ["xxab", "xaab"])
def test_a_column_that_stands_there_twice_is_named(names, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    table = pa.table([pa.array([0, 1] * 20)] * 4, list(names))
    for split in ("train", "valid"):
        pq.write_table(table, source / f"{split}.parquet")
    path = tmp_path / "recipe.json"
    columns = [{"name": "a"}, {"name": "b", "kind": "numeric"}]
    path.write_text(json.dumps({"label": "x", "columns": columns}))
    twice = next(name for name in names if names.count(name) > 1)
    for more in ([f"--recipe={path}"], ["--label=x"]):
        code, _, err = run("parquet", source, tmp_path / "out", *more)
        assert code == 2, err
        assert f"column {twice!r} appears more than once" in err


def test_a_struct_is_named_when_columns_are_guessed(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    table = pa.table({"label": [0, 1], "x": [{"a": 1}, {"a": 2}], "y": [1, 2]})
    pq.write_table(table, source / "train.parquet")
    code, _, err = run("parquet", source, tmp_path / "out")
    assert code == 2 and "column 'x' cannot be a feature" in err
    assert "struct<a: int64>" in err and "--recipe" in err


@pytest.mark.parametrize(
    "bad, named",
    [
        (1.5, "received 1.5"),
        (2.0**53, "below 2^53"),
        (b"\xe9", "UTF-8"),
    ],
)
def test_an_id_that_breaks_its_rule_is_named_by_row(bad, named, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    good = b"a" if isinstance(bad, bytes) else 1.0
    values = [good] * N
    values[41] = bad
    table = pa.table({"label": [0, 1] * (N // 2), "x": values})
    pq.write_table(table, source / "train.parquet", row_group_size=7)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"columns": [{"name": "x"}]}')
    code, _, err = run(
        "parquet", source, tmp_path / "out", f"--recipe={recipe}"
    )
    assert code == 2, err
    assert "train.parquet: row 41 (from 0), column 'x': must be" in err
    assert named in err


def test_floats_with_nan_are_missing_numbers(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    frame = pd.DataFrame({"label": [0, 1] * 50, "x": np.linspace(0.5, 9, 100)})
    frame.loc[::5, "x"] = np.nan
    frame.to_parquet(source / "train.parquet")
    # pandas writes nulls; others write the NaN itself.
    table = pa.table({"label": frame["label"], "x": frame["x"].to_numpy()})
    pq.write_table(table, source / "valid.parquet")
    spec, manifest = prepared("parquet", source, tmp_path / "out")
    (x,) = spec.numeric
    there = [v for v in frame["x"] if not math.isnan(v)]
    assert x.mean == pytest.approx(np.mean(np.log1p(there)))
    assert manifest["statistics"]["columns"]["x"]["missing"] == 20
    assert rows(tmp_path / "out", "valid")["x"].count(None) == 20
