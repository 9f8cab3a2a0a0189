"""Warm-up requests: what a server reads on loading a version."""

import collections
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.version import warmup
from wukong_tf.errors import ExportError


def logs_of(folder):
    path = os.path.join(folder, warmup.FILE)
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator()
    ]


def test_every_signature_is_warmed_at_every_size(published):
    found = collections.defaultdict(set)
    for log in logs_of(published):
        request = getattr(log, log.WhichOneof("log_type")).request
        assert request.model_spec.name == "model"
        name, columns = warmup.request_from_log(log)
        found[name].add(len(next(iter(columns.values()))))
    sizes = {1, 8, 32, 128, 512}
    assert found == {
        "serving_default": sizes,
        "tf_example": sizes,
        "regress": sizes,
        "classify": sizes,
    }
    kinds = collections.Counter(
        log.WhichOneof("log_type") for log in logs_of(published)
    )
    assert kinds == {"predict_log": 10, "regress_log": 5, "classify_log": 5}


def test_they_run(published):
    assert warmup.replay(published) == 20


@pytest.mark.parametrize("bad", ["name", "shape", "bytes"])
def test_one_that_cannot_run_is_refused(published, tmp_path, bad):
    import shutil

    copied = str(shutil.copytree(published, tmp_path / "7"))
    (first, *_) = logs_of(published)
    inputs = first.predict_log.request.inputs
    if bad == "name":
        inputs["price:0"].CopyFrom(inputs["price"])
        del inputs["price"]
    if bad == "shape":
        wide = np.zeros((2, 2), np.float32)
        inputs["price"].CopyFrom(tf.make_tensor_proto(wide))
    record = b"no message" if bad == "bytes" else first.SerializeToString()
    with tf.io.TFRecordWriter(os.path.join(copied, warmup.FILE)) as writer:
        writer.write(logs_of(published)[1].SerializeToString())
        writer.write(record)
    with pytest.raises(ExportError, match=r"request 2 \(from 1\)"):
        warmup.replay(copied)


def test_more_than_a_server_takes_are_refused(tmp_path, monkeypatch):
    from export.served.signatures import ServedModel
    from tests.worlds.served import (
        random_model,
        samples,
    )

    monkeypatch.setattr(warmup, "MAX_RECORDS", 7)
    served, table = ServedModel(random_model()), samples()
    with pytest.raises(ExportError, match="--batch_sizes: 2 sizes of 4"):
        warmup.write(served, table, str(tmp_path), "m", [1, 2])
