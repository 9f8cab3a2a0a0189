"""Bad files and rows: the error names file, row, column, rule and value."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.cli import arguments, run
from tests.worlds import clicks, logs
from trainer.data.parquet import ParquetSource
from wukong_tf import runs
from wukong_tf.errors import DataError

GROUP = 64  # rows of a row group; the bad row is in the third
ROW, ROWS = 150, 200


def spoilt(path, column, value, kind=None):
    """A file whose `column` holds `value` in row ROW."""
    table = {}
    log = clicks.columns(ROWS, 0)
    for name, values in {**log, "session": log["user"]}.items():
        values = values.tolist()
        if name == column:
            values[ROW] = value
        table[name] = pa.array(values, kind if name == column else None)
    # Without statistics, or a run would see bad ids in them at its start.
    pq.write_table(
        pa.table(table), path, row_group_size=GROUP, write_statistics=False
    )


def refusal(path, spec=clicks.SPEC):
    """The text of the error that reading the file raises."""
    with pytest.raises(DataError) as error:
        list(ParquetSource([str(path)], spec).batches(32))
    text = str(error.value)
    assert text.startswith(str(path)), text
    return text


BAD_VALUES = [
    ("item", 30, None, "at least 0 and below 30; received 30"),
    ("item", -1, None, "at least 0 and below 30; received -1"),
    ("item", 2**32, pa.int64(), "below 30; received 4294967296"),
    ("item", 2**63 + 5, pa.uint64(), f"below 30; received {2**63 + 5}"),
    ("item", None, pa.int32(), "received no value"),
    ("price", float("nan"), None, "in [-2**63, 2**63]; received nan"),
    ("price", float("-inf"), None, "2**63]; received -inf"),
    ("price", 1e300, pa.float64(), "2**63]; received 1e+300"),
    ("price", 1e20, None, "a number in [-2**63, 2**63]; received 1e+20"),
    ("content", [1.0, -1e19, 2.0], None, "vector of 3 numbers in [-2**63, 2"),
    ("price", None, pa.float32(), "received no value"),
    ("content", [1.0, 2.0], None, "numbers in [-2**63, 2**63]; received 2 num"),
    ("content", [1.0, None, 2.0], None, "received a vector with a null"),
    ("content", [1.0, float("nan"), 2.0], None, "received [ 1. nan  2.]"),
    ("content", None, None, "received no value"),
    ("label", 2, None, "a label of 0 or 1; received 2"),
    ("label", 0.5, pa.float64(), "a label of 0 or 1; received 0.5"),
    ("label", float("nan"), pa.float32(), "a label of 0 or 1; received nan"),
    ("importance", -1.0, None, "weight of at least 0; received -1.0"),
    ("importance", float("nan"), None, "weight of at least 0; received nan"),
    ("importance", float("inf"), None, "weight of at least 0; received inf"),
    ("importance", None, pa.float32(), "received no value"),
    ("label", None, pa.int8(), "received no value"),
    ("label", -1, None, "a label of 0 or 1; received -1"),
    ("user", None, pa.int64(), "received no value"),
    ("user", 40, None, "at least 0 and below 40; received 40"),
    ("session", 2**63, pa.uint64(), f"int64 can hold; received {2**63}"),
    ("session", None, pa.int64(), "received no value"),
]
SPEC = dataclasses.replace(clicks.SPEC, group="session")


@pytest.mark.parametrize("column, value, kind, words", BAD_VALUES)
def test_a_bad_value_is_named(column, value, kind, words, tmp_path):
    path = tmp_path / "x.parquet"
    spoilt(path, column, value, kind)
    text = refusal(path, SPEC)
    assert f"row {ROW} (from 0), column {column!r}: must be" in text
    assert words in text


@pytest.mark.parametrize(
    "column, values, words",
    [
        ("item", ["a"] * ROWS, "must be integers; it is string"),
        ("item", [1.0] * ROWS, "must be integers; it is double"),
        ("price", ["1"] * ROWS, "must be numbers; it is string"),
        ("content", [1.0] * ROWS, "must be lists of numbers; it is double"),
        ("content", [["a"]] * ROWS, "must be lists of numbers; it is list<"),
        ("label", ["1"] * ROWS, "must be numbers or booleans; it is string"),
        ("importance", [True] * ROWS, "must be numbers; it is bool"),
        ("user", [1.5] * ROWS, "must be integers; it is double"),
    ],
)
def test_a_wrong_type_is_named_before_any_row_is_read(
    column, values, words, tmp_path
):
    table = {n: v.tolist() for n, v in clicks.columns(ROWS, 0).items()}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({**table, column: values}), path)
    with pytest.raises(DataError) as error:
        ParquetSource([str(path)], clicks.SPEC)
    assert f"{path}: column {column!r} {words}" in str(error.value)


def test_a_missing_and_a_repeated_column(tmp_path):
    path = tmp_path / "x.parquet"
    data = {n: v.tolist() for n, v in clicks.columns(5, 0).items()}
    table = pa.table(data)
    pq.write_table(table.drop_columns(["item"]), path)
    assert (
        "column 'item' is missing; the columns are user, last_item"
        in refusal(path)
    )
    names = [*table.column_names, "item"]
    twice = pa.Table.from_arrays([*table.columns, table["item"]], names)
    pq.write_table(twice, path)
    assert "column 'item' occurs more than once" in refusal(path)


def test_rows_are_numbered_within_their_file_in_any_order(tmp_path):
    good, bad = tmp_path / "a.parquet", tmp_path / "b.parquet"
    logs.write(str(good), clicks.columns(90, 1), GROUP)
    spoilt(bad, "item", 77)
    for window in (0, 100, 1000):
        found = ParquetSource(
            [str(good), str(bad)], clicks.SPEC, shuffle_rows=window
        )
        with pytest.raises(DataError) as error:
            list(found.batches(32))
        assert f"{bad}: row group 2: row {ROW} (from 0), column 'item'" in str(
            error.value
        )


def test_rows_before_a_bad_row_group_are_given(tmp_path):
    path = tmp_path / "x.parquet"
    spoilt(path, "item", 77)
    batches = ParquetSource([str(path)], clicks.SPEC).batches(GROUP // 2)
    before = [len(next(batches)["item"]) for _ in range(4)]
    assert sum(before) == 2 * GROUP
    with pytest.raises(DataError):
        next(batches)


def test_no_rows(tmp_path):
    path = tmp_path / "x.parquet"
    data = {n: pa.array(v.tolist()) for n, v in clicks.columns(5, 0).items()}
    pq.write_table(pa.table(data).slice(0, 0), path)
    assert "there are no rows" in refusal(path)


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


SMALL = {"batch_size": 50, "rank": 2, "num_layers": 1, "max_steps": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    "column, value, kind, words",
    [
        ("item", 30, None, "at least 0 and below 30; received 30"),
        ("item", -1, None, "at least 0 and below 30; received -1"),
        ("price", float("nan"), None, "in [-2**63, 2**63]; received nan"),
        ("label", 2, None, "a label of 0 or 1; received 2"),
    ],
)
def test_training_ends_with_the_row_s_error(
    column, value, kind, words, tmp_path, log_dir, capsys
):
    path, run_dir = tmp_path / "bad.parquet", tmp_path / "run"
    spoilt(path, column, value, kind)
    options = {"data_dir": log_dir, "run_dir": run_dir, "train_files": path}
    assert run(*arguments(**options, **SMALL)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert (
        f"error: {path}: row group 2: row {ROW} (from 0), column {column!r}"
        in said
    )
    assert words in said
    assert said.count("error") == 1 and said.endswith(".\n")
    assert runs.checkpoint_paths(str(run_dir)) == []


@pytest.mark.slow
def test_evaluation_ends_with_the_row_s_error(tmp_path, log_dir, capsys):
    path, run_dir = tmp_path / "bad.parquet", tmp_path / "run"
    spoilt(path, "price", float("inf"))
    options = {"data_dir": log_dir, "run_dir": run_dir, "valid_files": path}
    assert run(*arguments(**options, **SMALL)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert (
        f"error: {path}: row group 2: row {ROW} (from 0), column 'price'"
        in said
    )
    assert runs.checkpoint_paths(str(run_dir)) == []


def test_bad_files_end_the_command_before_a_run_is_made(
    tmp_path, log_dir, capsys
):
    run_dir = tmp_path / "run"
    data = clicks.columns(40, 0)
    truncated, lacking = tmp_path / "t.parquet", tmp_path / "l.parquet"
    typed, empty = tmp_path / "y.parquet", tmp_path / "e.parquet"
    logs.write(str(truncated), data)
    truncated.write_bytes(truncated.read_bytes()[:-9])
    logs.write(str(lacking), {n: v for n, v in data.items() if n != "item"})
    logs.write(str(typed), {**data, "item": np.array(["a"] * 40)})
    whole = tmp_path / "whole.parquet"
    logs.write(str(whole), data)
    pq.write_table(pq.read_table(whole).slice(0, 0), empty)
    for path, words in (
        (tmp_path / "none.parquet", "there is no such file"),
        (truncated, "cannot be read as Parquet"),
        (lacking, "column 'item' is missing"),
        (typed, "column 'item' must be integers"),
        (empty, "there are no rows"),
    ):
        options = {"data_dir": log_dir, "run_dir": run_dir, "test_files": path}
        assert run(*arguments(**options, **SMALL)) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path}"), said
        assert words in said and "Traceback" not in said
        assert not run_dir.exists()
