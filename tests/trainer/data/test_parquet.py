"""Parquet rows: each once, in an order that seed and epoch alone decide."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer import clicks
from trainer.data.parquet import ParquetSource, expand
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
        clicks.write(str(folder / f"{name}.parquet"), columns, 64)
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


def test_what_comes_before_a_step_is_not_read(folder, monkeypatch):
    found = source(folder)
    read = []
    original = ParquetSource._read_group

    def spy(self, group):
        read.append((os.path.basename(group.path), group.index))
        return original(self, group)

    monkeypatch.setattr(ParquetSource, "_read_group", spy)
    (last,) = found.batches(90, first_step=11)
    np.testing.assert_array_equal(last["row"], np.arange(990, ROWS))
    assert len(read) == 1


def test_about_two_windows_are_read_ahead(folder, monkeypatch):
    found = source(folder, shuffle_rows=128)
    read = []
    original = ParquetSource._read_group

    def spy(self, group):
        read.append(group.num_rows)
        return original(self, group)

    monkeypatch.setattr(ParquetSource, "_read_group", spy)
    batches = found.batches(10)
    next(batches)
    batches.close()
    assert sum(read) <= 2 * (128 + 64)


TYPES = {
    "row": [pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.uint64()],
    "n": [pa.float16(), pa.float32(), pa.float64(), pa.int16(), pa.uint64()],
    "label": [pa.bool_(), pa.int8(), pa.float32(), pa.float64(), pa.uint8()],
    "v": [
        pa.list_(pa.float32()),
        pa.list_(pa.float64(), 2),
        pa.large_list(pa.float32()),
        pa.list_(pa.int8()),
        pa.list_(pa.float16()),
    ],
}


@pytest.mark.parametrize("case", range(5))
def test_every_type_of_number_is_taken(case, tmp_path):
    spec = FeatureSpec(
        (CategoricalFeature("row", 100),),
        (NumericFeature("n"),),
        (VectorFeature("v", 2),),
        weight="n2",
        group="row",
    )
    values = {
        "row": [3, 1, 99],
        "n": [0, 7, 2],
        "label": [0, 1, 1],
        "v": [[1, 2], [3, 4], [5, 6]],
    }
    path = str(tmp_path / "x.parquet")
    table = {
        name: pa.array(np.array(value).tolist()).cast(TYPES[name][case])
        for name, value in values.items()
    }
    table["n2"] = table["n"]
    pq.write_table(pa.table(table), path, row_group_size=2)
    rows = joined(ParquetSource([path], spec).batches(2))
    for name, value in {**values, "n2": values["n"]}.items():
        np.testing.assert_array_equal(rows[name], value)
        kind = np.int32 if name == "row" else np.float32
        assert rows[name].dtype == kind


def test_no_label_is_read_where_none_is_asked_for(tmp_path):
    path = str(tmp_path / "x.parquet")
    data = clicks.columns(20, 0)
    for name in ("label", "importance"):
        del data[name]
    clicks.write(path, data)
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
    ):
        with pytest.raises(DataError) as error:
            expand(files)
        assert words in str(error.value) and files[0] in str(error.value)
    odd = tmp_path / "[1].parquet"
    odd.write_bytes(b"")
    assert expand([str(odd)]) == [str(odd)]


def test_a_spec_of_the_trainers_log(tmp_path):
    folder = clicks.write_log(str(tmp_path / "log"))
    with open(os.path.join(folder, "features.json")) as file:
        assert FeatureSpec.from_dict(json.load(file)) == clicks.SPEC
    found = ParquetSource([f"{folder}/train.parquet"], clicks.SPEC)
    rows = joined(found.batches(400))
    for name, expected in clicks.columns(1500, 0).items():
        np.testing.assert_allclose(rows[name], expected, rtol=1e-6)
