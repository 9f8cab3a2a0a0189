"""Parquet rows: each once, in an order that seed and epoch alone decide."""

import dataclasses
import itertools
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.worlds import clicks, logs
from trainer.data.parquet import ParquetSource
from trainer.data.paths import expand
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    VectorFeature,
)
from wukong_tf.errors import DataError

ROWS = 1000
SPEC = FeatureSpec((CategoricalFeature("row", ROWS),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of numbered rows, in row groups of 64."""
    folder = tmp_path_factory.mktemp("rows")
    rows = np.arange(ROWS)
    for name, part in zip("abc", np.split(rows, [300, 310]), strict=True):
        columns = {"row": part, "label": part % 2, "unread": part.astype(str)}
        logs.write(str(folder / f"{name}.parquet"), columns, 64)
    return folder


def source(folder, **options):
    return ParquetSource([f"{folder}/*.parquet"], SPEC, **options)


def joined(batches):
    batches = list(batches)
    return {
        name: np.concatenate([batch[name] for batch in batches])
        for name in batches[0]
    }


def order(found, epoch=0, size=100):
    return joined(found.batches(size, epoch=epoch))["row"]


def test_without_shuffling_rows_come_in_the_order_of_the_files(folder):
    found = source(folder)
    assert found.num_rows == ROWS
    batches = list(found.batches(70))
    assert [len(batch["row"]) for batch in batches] == [70] * 14 + [20]
    rows = joined(batches)
    np.testing.assert_array_equal(rows["row"], np.arange(ROWS))
    np.testing.assert_array_equal(rows["label"], np.arange(ROWS) % 2)
    assert rows["row"].dtype == np.int32
    assert rows["label"].dtype == np.float32
    assert rows.keys() == {"row", "label"}
    np.testing.assert_array_equal(rows["row"], order(found, epoch=3))


def test_files_are_read_in_the_order_given(folder):
    paths = [f"{folder}/{name}.parquet" for name in "cab"]
    rows = order(ParquetSource(paths, SPEC))
    expected = np.r_[310:ROWS, 0:310]
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("window", [1, 100, 300, 5000])
def test_shuffled_rows_come_once_in_an_order_of_epoch_and_seed(folder, window):
    orders = [
        order(source(folder, shuffle_rows=window, seed=seed), epoch)
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for rows in orders:
        np.testing.assert_array_equal(np.sort(rows), np.arange(ROWS))
        assert np.any(rows != np.arange(ROWS))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.any(orders[one] != orders[other])
    again = source(folder, shuffle_rows=window, seed=0)
    np.testing.assert_array_equal(orders[0], order(again, size=33))
    labels = joined(again.batches(50, epoch=2))
    np.testing.assert_array_equal(labels["label"], labels["row"] % 2)


def test_row_groups_and_the_rows_of_each_come_in_new_orders(tmp_path):
    """A window for each of 12 row groups: each order changes by itself."""
    rows = np.arange(768)
    path = str(tmp_path / "x.parquet")
    logs.write(path, {"row": rows, "label": rows % 2}, 64)
    of_groups, within = [rows[:12].tolist()], [[rows[:64].tolist()] * 12]
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        found = ParquetSource([path], SPEC, shuffle_rows=1, seed=seed)
        windows = order(found, epoch).reshape(12, 64)
        assert np.all(windows // 64 == windows[:, :1] // 64)
        of_groups.append((windows[:, 0] // 64).tolist())
        within.append((windows % 64).tolist())
    for one, other in itertools.combinations(range(4), 2):
        assert of_groups[one] != of_groups[other]
        for left, right in zip(within[one], within[other], strict=True):
            assert left != right
    for windows in within[1:]:
        for one, other in itertools.combinations(windows, 2):
            assert one != other


@pytest.mark.parametrize("window", [0, 100, 5000])
def test_any_step_is_reached_without_those_before(folder, window):
    found = source(folder, shuffle_rows=window, seed=4)
    whole = list(found.batches(90, epoch=1))
    for step in range(len(whole) + 1):
        rest = list(found.batches(90, epoch=1, first_step=step))
        assert len(rest) == len(whole) - step
        for one, other in zip(rest, whole[step:], strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert one[name].tobytes() == other[name].tobytes()


@pytest.mark.parametrize("window", [0, 64])
def test_what_comes_before_a_step_is_not_read(folder, window, monkeypatch):
    found = source(folder, shuffle_rows=window)
    read = []
    original = ParquetSource._read_table

    def spy(self, group):
        read.append((os.path.basename(group.path), group.index))
        return original(self, group)

    monkeypatch.setattr(ParquetSource, "_read_table", spy)
    (last,) = found.batches(90, first_step=11)
    assert len(last["row"]) == 10
    if not window:
        np.testing.assert_array_equal(last["row"], np.arange(990, ROWS))
    # A window may hold one row group more, where the first is a short one.
    assert len(set(read)) == len(read) <= (2 if window else 1)


@pytest.mark.parametrize("window", [0, 128])
def test_about_two_windows_are_read_ahead(folder, window, monkeypatch):
    found = source(folder, shuffle_rows=window)
    read = []
    original = ParquetSource._read_table

    def spy(self, group):
        read.append(group.num_rows)
        return original(self, group)

    monkeypatch.setattr(ParquetSource, "_read_table", spy)
    batches = found.batches(10)
    used = 0
    assert not read
    for batch in batches:
        # A window may exceed its rows by less than a row group of 64.
        assert sum(read) - used <= 10 + 2 * (window + 64)
        used += len(batch["row"])
    assert used == sum(read) == ROWS
    batches = found.batches(10)
    next(batches)
    batches.close()
    assert sum(read) - ROWS <= 2 * (window + 64)


INTEGERS = [
    pa.int8(),
    pa.int16(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint16(),
    pa.uint32(),
    pa.uint64(),
]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
NUMBERS = INTEGERS + FLOATS
TYPES = {
    "row": INTEGERS,
    "group": INTEGERS,
    "n": NUMBERS,
    "weight": NUMBERS,
    "label": [pa.bool_(), *NUMBERS],
    "v": [
        of(kind)
        for kind in NUMBERS
        for of in (pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2))
    ],
}
VALUES = {
    "row": [3, 1, 99],
    "group": [5, 5, 120],
    "n": [0, 7, 2],
    "weight": [1, 0, 2],
    "label": [0, 1, 1],
    "v": [[1, 2], [3, 4], [5, 6]],
}
READ_AS = {"row": np.int32, "group": np.int64}
TYPED = FeatureSpec(
    (CategoricalFeature("row", 100),),
    (NumericFeature("n"),),
    (VectorFeature("v", 2),),
    weight="weight",
    group="group",
)


@pytest.mark.parametrize(
    "name, kind", [(name, kind) for name in TYPES for kind in TYPES[name]]
)
def test_every_type_of_number_is_taken(name, kind, tmp_path):
    path = str(tmp_path / "x.parquet")
    table = {name: pa.array(value) for name, value in VALUES.items()}
    table[name] = table[name].cast(kind)
    pq.write_table(pa.table(table), path, row_group_size=2)
    assert pq.read_schema(path).field(name).type == kind
    rows = joined(ParquetSource([path], TYPED).batches(2))
    assert rows.keys() == VALUES.keys()
    for column, value in VALUES.items():
        np.testing.assert_array_equal(rows[column], value)
        assert rows[column].dtype == READ_AS.get(column, np.float32)


def test_a_group_that_is_a_feature_is_read_as_its_ids(tmp_path):
    path = str(tmp_path / "x.parquet")
    pq.write_table(pa.table(VALUES), path)
    spec = dataclasses.replace(TYPED, group="row")
    (batch,) = ParquetSource([path], spec).batches(3)
    assert batch["row"].tolist() == VALUES["row"]
    assert batch["row"].dtype == np.int32
    assert "group" not in batch


def test_groups_are_as_wide_as_int64(tmp_path):
    path = str(tmp_path / "x.parquet")
    groups = [-(2**63), 2**63 - 1, 2**40]
    pq.write_table(pa.table({**VALUES, "group": groups}), path)
    (batch,) = ParquetSource([path], TYPED).batches(3)
    assert batch["group"].tolist() == groups


def test_the_ends_of_the_ranges_are_taken(tmp_path):
    path = str(tmp_path / "x.parquet")
    largest = 2.0**63
    ends = {"row": [0, 99, 50], "n": [-largest, largest, 0.0]}
    pq.write_table(pa.table({**VALUES, **ends}), path)
    (batch,) = ParquetSource([path], TYPED).batches(3)
    assert batch["row"].tolist() == ends["row"]
    assert batch["n"].tolist() == ends["n"]


def test_no_label_is_read_where_none_is_asked_for(tmp_path):
    path = str(tmp_path / "x.parquet")
    data = clicks.columns(20, 0)
    for name in ("label", "importance"):
        del data[name]
    logs.write(path, data)
    found = ParquetSource([path], clicks.SPEC, labels=False)
    (batch,) = found.batches(20)
    assert batch.keys() == set(clicks.SPEC.feature_names)
    with pytest.raises(DataError, match="'label' is missing"):
        ParquetSource([path], clicks.SPEC)


def test_the_paths_that_stand_for_no_file(folder, tmp_path):
    a = f"{folder}/a.parquet"
    for files, words in (
        (["nowhere.parquet"], "nowhere.parquet: there is no such file"),
        ([f"{folder}/*.csv"], "no file matches"),
        ([a, f"{folder}/*.parquet"], "is named twice"),
        ([str(folder)], "is a directory"),
        ([f"{folder}/./a.parquet", a], "is named twice"),
    ):
        with pytest.raises(DataError) as error:
            expand(files)
        assert words in str(error.value)
        assert any(file in str(error.value) for file in files)
    odd = tmp_path / "[1].parquet"
    odd.write_bytes(b"")
    assert expand([str(odd)]) == [str(odd)]


def test_a_glob_s_files_are_sorted_where_it_stands(folder):
    c = f"{folder}/c.parquet"
    assert expand([c, f"{folder}/[ab].par*"]) == [
        c,
        f"{folder}/a.parquet",
        f"{folder}/b.parquet",
    ]
    deep = f"{folder.parent}/**/{folder.name}/a.parquet"
    assert expand([deep]) == [f"{folder}/a.parquet"]


def test_row_groups_and_files_without_rows_are_passed_over(tmp_path):
    schema = pa.schema([("row", pa.int32()), ("label", pa.int8())])
    counts = {"a": [0], "b": [2, 0, 3], "c": []}
    for name, groups in counts.items():
        path = tmp_path / f"{name}.parquet"
        with pq.ParquetWriter(path, schema) as writer:
            for rows in groups:
                columns = {"row": np.arange(rows), "label": np.ones(rows)}
                writer.write_table(pa.table(columns).cast(schema))
    found = source(tmp_path)
    assert found.num_rows == 5
    (batch,) = found.batches(9)
    assert batch["row"].tolist() == [0, 1, 0, 1, 2]
    assert len(order(source(tmp_path, shuffle_rows=9))) == 5


def test_a_spec_of_the_trainers_log(tmp_path):
    folder = clicks.write_log(str(tmp_path / "log"))
    with open(os.path.join(folder, "features.json")) as file:
        assert FeatureSpec.from_dict(json.load(file)) == clicks.SPEC
    found = ParquetSource([f"{folder}/train.parquet"], clicks.SPEC)
    rows = joined(found.batches(400))
    for name, expected in clicks.columns(1500, 0).items():
        np.testing.assert_allclose(rows[name], expected, rtol=1e-6)
