"""--on_bad_value=count: read as missing, counted, and stopped in time."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import wukong_tf
from tests.trainer.cli import SIZES, arguments, run
from tests.worlds import clicks, raw_clicks, rich_clicks
from trainer.data.parquet import ParquetSource
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError
from wukong_tf.rows.bad_values import Count

NAN, INF = float("nan"), float("inf")


def spoilt(table, **changes):
    """The table with some cells replaced: column={row: value}."""
    for name, cells in changes.items():
        values = table[name].to_pylist()
        kind = table.schema.field(name).type
        for row, value in cells.items():
            values[row] = value
        if pa.types.is_integer(kind):
            kind = pa.int64()
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, kind))
    return table


def read(path, table, spec: FeatureSpec, max_fraction=1.0):
    pq.write_table(table, path, row_group_size=64)
    bad = Count(max_fraction)
    source = ParquetSource([str(path)], spec, bad=bad)
    batch = next(source.batches(table.num_rows))
    return batch, bad


def plain_table(rows=200):
    return pa.table(
        {
            name: pa.array(list(v) if v.ndim > 1 else v)
            for name, v in clicks.columns(rows, 0).items()
        }
    )


def test_bad_values_are_read_as_missing_and_the_rest_as_ever(tmp_path):
    table = plain_table()
    clean, _ = read(tmp_path / "clean.parquet", table, clicks.SPEC)
    changes = {
        "item": {3: 30, 70: -1, 71: None},
        "price": {5: NAN, 66: 1e20, 67: None},
        "content": {4: [1.0], 5: [NAN, 1.0, 2.0], 6: None, 7: [1.0, None, 2.0]},
        "label": {8: 2, 9: -1, 10: None},
        "importance": {11: -1.0, 12: None, 13: INF},
        "user": {14: 99},
    }
    batch, bad = read(
        tmp_path / "bad.parquet", spoilt(table, **changes), clicks.SPEC
    )
    instead = {
        "item": 1,
        "price": NAN,
        "content": [0.0, 0.0, 0.0],
        "label": NAN,
        "importance": 0.0,
        "user": 1,
    }
    for name, cells in changes.items():
        for row in cells:
            np.testing.assert_array_equal(batch[name][row], instead[name])
            clean[name][row] = batch[name][row]
        np.testing.assert_array_equal(batch[name], clean[name], err_msg=name)
    # The group's column is the user's; each use of it is held to its rule.
    assert bad.counts == {
        "item": 3,
        "price": 3,
        "content": 4,
        "label": 3,
        "importance": 3,
        "user": 1,
    }
    assert bad.rows == 200
    assert "row group 0: row 3 (from 0)" in bad.first["item"]
    assert "received 30" in bad.first["item"]


def test_bags_lose_what_is_bad_and_no_more(tmp_path):
    table = rich_clicks.table(100, 0)
    good = [[2, 3], [4], [5, 6, 7, 8]]
    weights = [[1.0, 2.0], [1.0], [1.0, 1.0, 1.0, 1.0]]
    table = spoilt(
        table,
        seen=dict(enumerate([*good, [2, 30], [1, 2, 3, 4, 5], [3, None]])),
        seen_weights=dict(
            enumerate(
                [*weights, [1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 1.0]]
            )
        ),
        tags={0: [1, 2, 3, 4], 1: [9, 2], 2: [None, 3]},
    )
    batch, bad = read(tmp_path / "a.parquet", table, rich_clicks.SPEC)
    assert batch["seen"][:3].tolist() == [
        [2, 3, 0, 0],
        [4, 0, 0, 0],
        [5, 6, 7, 8],
    ]
    # A bag whose weights no longer match it is empty.
    assert batch["seen"][3].tolist() == [0, 0, 0, 0]
    assert batch["seen"][4].tolist() == [1, 2, 3, 4]
    assert batch["seen_weights"][4].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert batch["seen"][5].tolist() == [0, 0, 0, 0]
    assert batch["tags"][:3].tolist() == [[1, 2, 3], [0, 2, 0], [0, 3, 0]]
    # A long bag, of which the first ids count, is no fault.
    assert bad.counts == {"seen": 2, "seen_weights": 2, "tags": 2}


def test_raw_values_are_missing_without_being_bad(tmp_path):
    table = spoilt(
        raw_clicks.table(60, 0), city={0: None, 1: ""}, age={2: None}
    )
    batch, bad = read(tmp_path / "a.parquet", table, raw_clicks.SPEC)
    assert batch["city"][:2].tolist() == [1, 1] and batch["age"][2] == 1
    assert not bad.counts
    table = spoilt(
        table,
        words={0: ["", "a", None, *"bcde"], 1: ["a", *"bcd"], 2: [None, ""]},
        hour={3: 24},
    )
    batch, bad = read(tmp_path / "b.parquet", table, raw_clicks.SPEC)
    assert bad.counts == {"hour": 1}
    # A bag is the first values that are there.
    np.testing.assert_array_equal(batch["words"][0], batch["words"][1])
    assert batch["words"][2].tolist() == [0] * 4


def test_too_many_bad_values_end_the_reading(tmp_path):
    table = spoilt(plain_table(), item={row: 99 for row in range(60, 67)})
    read(tmp_path / "a.parquet", table, clicks.SPEC, 0.07)
    with pytest.raises(DataError) as error:
        read(tmp_path / "b.parquet", table, clicks.SPEC, 0.01)
    text = str(error.value)
    for word in ("column 'item'", "4 of the 64 rows", "0.01", "row 60"):
        assert word in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("log"))
    clicks.write_log(folder)
    path = os.path.join(folder, "train.parquet")
    table = pq.read_table(path)
    table = spoilt(table, item={5: 30, 700: -1}, label={9: 7}, price={1: NAN})
    pq.write_table(table, path, row_group_size=256)
    return folder


def records(run_dir):
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        return [json.loads(line) for line in file]


@pytest.mark.slow
def test_counters_reach_metrics_and_report(folder, tmp_path):
    options = {
        "data_dir": folder,
        "batch_size": 128,
        "epochs": 2,
        "on_bad_value": "count",
        **SIZES,
    }
    run_dir = str(tmp_path / "run")
    assert run(*arguments(**options, run_dir=run_dir)) == 0
    last = [r for r in records(run_dir) if r["kind"] == "train"][-1]
    assert last["bad_values"] == {"item": 4, "label": 2, "price": 2}
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        found = json.load(file)["bad_values"]
    assert found["train"]["columns"] == {"item": 4, "label": 2, "price": 2}
    assert found["train"]["rows"] == 2 * 1500
    assert "must be an id" in found["train"]["first"]["item"]
    assert found["valid"]["columns"] == found["test"]["columns"] == {}
    with open(os.path.join(run_dir, "report", "index.html")) as file:
        assert "Bad values, read as missing" in file.read()


@pytest.mark.slow
def test_scoring_says_what_was_bad(folder, tmp_path, capsys):
    options = {"data_dir": folder, "on_bad_value": "count"}
    run_dir = str(tmp_path / "run")
    train = {"run_dir": run_dir, "batch_size": 256, "max_steps": 2, **SIZES}
    assert run(*arguments(**options, **train)) == 0
    bad = os.path.join(folder, "train.parquet")
    predict = {
        "mode": "predict",
        "run_dir": run_dir,
        "predict_files": bad,
        "output": str(tmp_path / "scores.parquet"),
        "on_bad_value": "count",
    }
    capsys.readouterr()
    assert run(*arguments(**predict)) == 0
    said = capsys.readouterr().err
    assert "column 'item': 2 bad values were read as missing" in said
    scores = pq.read_table(tmp_path / "scores.parquet")["logit"].to_numpy()
    rows = clicks.columns(1500, 0)
    rows["item"][[5, 700]] = 1
    rows["price"][1] = NAN
    inputs = {name: rows[name] for name in clicks.SPEC.feature_names}
    logits = wukong_tf.load_run(run_dir)(inputs)["click"]
    np.testing.assert_allclose(scores, np.ravel(logits), rtol=0, atol=1e-5)
    out = {"mode": "eval", "run_dir": run_dir, "valid_files": bad}
    out |= {"test_files": bad, "train_files": bad, "output": tmp_path / "m"}
    assert run(*arguments(**{**options, **out})) == 0
    found = json.loads((tmp_path / "m").read_text())
    assert found["bad_values"]["test"]["columns"]["label"] == 1


@pytest.mark.slow
def test_a_run_ends_above_the_fraction(folder, tmp_path, capsys):
    options = {
        "data_dir": folder,
        "on_bad_value": "count",
        "max_bad_fraction": 0.0001,
        "run_dir": str(tmp_path / "run"),
        **SIZES,
    }
    assert run(*arguments(**options)) == 2
    said = capsys.readouterr().err
    assert "--max_bad_fraction" in said and "Traceback" not in said


def test_without_the_flag_the_first_is_an_error(folder, tmp_path, capsys):
    options = {"data_dir": folder, "run_dir": str(tmp_path / "run"), **SIZES}
    assert run(*arguments(**options)) == 2
    said = capsys.readouterr().err
    assert "column 'item' has ids from -1 to 30" in said
    assert "--on_bad_value=count" in said
