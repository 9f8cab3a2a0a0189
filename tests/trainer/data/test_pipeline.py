"""Datasets give the source's batches, encoded, from any step on."""

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import clicks
from trainer.data.parquet import ParquetSource
from trainer.data.pipeline import GLOBAL_ROWS, Pipeline
from trainer.data.source import steps_per_epoch
from wukong_tf.errors import DataError
from wukong_tf.features import encode

SIZE = 70


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


def test_batches_are_the_source_s_with_features_encoded(source):
    pipeline = Pipeline(source, SIZE, epoch=1, epochs=2)
    found = batches(pipeline)
    assert pipeline.steps_per_epoch == steps_per_epoch(source, SIZE) == 6
    assert [len(batch["user"]) for batch in found] == [70] * 5 + [50]
    raw = list(source.batches(SIZE, epoch=1))
    for batch, columns in zip(found, raw, strict=True):
        assert batch[GLOBAL_ROWS] == len(columns["user"])
        expected = {name: tf.constant(v) for name, v in columns.items()}
        expected |= encode(clicks.SPEC, expected)
        assert batch.keys() - {GLOBAL_ROWS} == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name], value)
    assert np.any(found[0]["price"] != raw[0]["price"])
    np.testing.assert_array_equal(found[0]["importance"], raw[0]["importance"])


def test_every_step_of_every_epoch_goes_on_with_the_next_batch(source):
    whole = batches(Pipeline(source, SIZE, epochs=2))
    assert len(whole) == 12
    for place in range(len(whole)):
        epoch, step = divmod(place, 6)
        rest = Pipeline(source, SIZE, epoch=epoch, step=step, epochs=2)
        assert_same(batches(rest), whole[place:])


def test_without_an_end_it_goes_on(source):
    data = Pipeline(source, SIZE, epochs=None).dataset().take(20)
    twice = batches(Pipeline(source, SIZE, epochs=4))[:20]
    assert_same(list(data.as_numpy_iterator()), twice)


def test_the_reader_s_own_error_is_kept(source, monkeypatch):
    def fail(group):
        raise DataError("row 3: bad")

    monkeypatch.setattr(source, "_read_group", fail)
    pipeline = Pipeline(source, SIZE)
    assert pipeline.error is None
    with pytest.raises(tf.errors.OpError):
        batches(pipeline)
    assert isinstance(pipeline.error, DataError)
    assert str(pipeline.error) == "row 3: bad"
