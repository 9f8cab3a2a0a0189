"""Datasets give the source's batches from any step on."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.worlds import clicks, logs
from trainer.data.parquet import ParquetSource
from trainer.data.pipeline import GLOBAL_ROWS, Pipeline
from trainer.data.source import steps_per_epoch
from wukong_tf.errors import DataError

SIZE = 110  # of 400 rows: the fourth batch of an epoch is short


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = clicks.write_log(str(tmp_path_factory.mktemp("log")))
    return ParquetSource(
        [f"{folder}/valid.parquet"], clicks.SPEC, shuffle_rows=100, seed=2
    )


def batches(pipeline):
    return list(pipeline.dataset().as_numpy_iterator())


def assert_same(one, other):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            assert left[name].tobytes() == right[name].tobytes(), name


def test_batches_are_the_source_s(source):
    pipeline = Pipeline(source, SIZE, epoch=1, epochs=2)
    found = batches(pipeline)
    assert pipeline.steps_per_epoch == steps_per_epoch(source, SIZE) == 4
    assert [len(batch["user"]) for batch in found] == [110] * 3 + [70]
    raw = list(source.batches(SIZE, epoch=1))
    for batch, columns in zip(found, raw, strict=True):
        assert batch[GLOBAL_ROWS] == len(columns["user"])
        assert batch.keys() - {GLOBAL_ROWS} == columns.keys()
        for name, value in columns.items():
            np.testing.assert_array_equal(batch[name], value)
        assert batch[GLOBAL_ROWS].dtype == np.float32
        assert batch[GLOBAL_ROWS].shape == ()


def test_every_step_of_every_epoch_goes_on_with_the_next_batch(source):
    whole = batches(Pipeline(source, SIZE, epochs=2))
    assert len(whole) == 8
    for place in range(len(whole)):
        epoch, step = divmod(place, 4)
        rest = Pipeline(source, SIZE, epoch=epoch, step=step, epochs=2)
        assert_same(batches(rest), whole[place:])


def test_without_an_end_it_goes_on(source):
    data = Pipeline(source, SIZE, epochs=None).dataset().take(13)
    twice = batches(Pipeline(source, SIZE, epochs=4))[:13]
    assert_same(list(data.as_numpy_iterator()), twice)


def test_the_reader_s_own_error_is_kept(source, monkeypatch):
    def fail(block):
        raise DataError("row 3: bad")

    monkeypatch.setattr(source, "_read_table", fail)
    pipeline = Pipeline(source, SIZE)
    assert pipeline.error is None
    with pytest.raises(tf.errors.OpError):
        batches(pipeline)
    assert isinstance(pipeline.error, DataError)
    assert str(pipeline.error) == "row 3: bad"


def test_features_alone_where_no_label_is_read(tmp_path):
    path = str(tmp_path / "x.parquet")
    data = clicks.columns(90, 0)
    del data["label"], data["importance"]
    logs.write(path, data)
    bare = ParquetSource([path], clicks.SPEC, labels=False)
    found = batches(Pipeline(bare, 40, labels=False))
    assert [int(batch[GLOBAL_ROWS]) for batch in found] == [40, 40, 10]
    names = {*clicks.SPEC.feature_names, GLOBAL_ROWS}
    assert all(batch.keys() == names for batch in found)
    users = np.concatenate([batch["user"] for batch in found])
    np.testing.assert_array_equal(users, data["user"])


def test_a_group_of_its_own_is_int64(tmp_path):
    path = str(tmp_path / "x.parquet")
    data = clicks.columns(50, 0)
    data["session"] = data["item"] + 2**40
    logs.write(path, data)
    spec = dataclasses.replace(clicks.SPEC, group="session")
    (batch,) = batches(Pipeline(ParquetSource([path], spec), 50))
    assert batch["session"].dtype == np.int64
    np.testing.assert_array_equal(batch["session"], data["session"])


def test_batches_before_a_bad_row_are_given_and_its_error_kept(tmp_path):
    path = str(tmp_path / "x.parquet")
    data = clicks.columns(200, 0)
    data["item"][150] = 30  # the third row group's, of 64 rows each
    logs.write(path, data, 64)
    pipeline = Pipeline(ParquetSource([path], clicks.SPEC), 32)
    items = []
    with pytest.raises(tf.errors.OpError):
        for batch in pipeline.dataset().as_numpy_iterator():
            items += batch["item"].tolist()
    assert items == data["item"][:128].tolist()
    assert isinstance(pipeline.error, DataError)
    assert f"{path}: row group 2: row 150 (from 0), column 'item'" in str(
        pipeline.error
    )


def test_no_error_is_left_where_none_came(source):
    pipeline = Pipeline(source, SIZE)
    batches(pipeline)
    assert pipeline.error is None
