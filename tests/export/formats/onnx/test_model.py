"""The ONNX file, under onnxruntime as a user would open it."""

import os

import numpy as np
import pytest
import tensorflow as tf

import wukong_tf
from export.formats.onnx import files
from export.formats.onnx import model as onnx_model
from export.proof import parity
from export.served.signatures import ServedModel
from tests.export.formats.test_saved_model import logits_of
from tests.worlds.served import (
    CONFIG,
    LOGISTIC,
    columns,
    random_model,
    request,
    samples,
)
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature
from wukong_tf.errors import ExportError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def session(published):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        os.path.join(published, "onnx", "model.onnx"), options
    )


def test_equals_the_run(run_dir, session):
    raw = columns(seed=21)
    (got,) = session.run(["logit"], request(raw))
    np.testing.assert_allclose(got, logits_of(run_dir, raw), rtol=0, atol=1e-5)


def test_is_valid_onnx_of_the_documented_opset(published):
    proto = onnx.load(os.path.join(published, "onnx", "model.onnx"))
    onnx.checker.check_model(proto, full_check=True)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    assert opsets[""] == onnx_model.OPSET


@pytest.mark.parametrize("name", ["item", "other"])
@pytest.mark.parametrize("bad", [-1, -20, 20, 25, -(2**63), 2**63 - 1])
def test_an_id_without_oov_id_is_refused(session, name, bad):
    # Both share a fused table with "user", so every id near the range would
    # reach a row of some feature.
    raw = request(columns(rows=3))
    raw[name][1] = bad
    with pytest.raises(Exception, match="(?i)out of data bounds"):
        session.run(None, raw)


def test_an_id_out_of_range_is_read_as_the_oov_id(session):
    raw = request(columns(rows=4))
    replaced = {**raw, "user": np.full(4, 2)}
    raw["user"] = np.array([-1, 11, -(2**63), 2**63 - 1])
    got, want = session.run(["logit"], raw), session.run(["logit"], replaced)
    assert np.array_equal(got, want)


@pytest.mark.parametrize(
    "config",
    [
        LOGISTIC,
        wukong_tf.WukongConfig(
            CONFIG.features, embedding_dim=4, num_layers=1, fm="full"
        ),
    ],
    ids=["logistic_regression", "full"],
)
def test_other_models_convert(config, tmp_path):
    served = ServedModel(random_model(config))
    onnx_model.write(served, str(tmp_path))
    artifacts = onnx_model.load(served, str(tmp_path))
    report = parity.compare(served, samples(), artifacts)
    report.check()
    assert 0 <= report.logit["onnx"] < 1e-4


def test_the_converter_never_sees_a_table(monkeypatch, tmp_path):
    # It takes some sixty times the bytes of the constants that it is given.
    import tf2onnx

    spec = FeatureSpec(
        categorical=(
            CategoricalFeature("wide", 30_000, oov_id=0),
            CategoricalFeature("tables_4", 20_000, embedding_dim=5),
        )
    )
    config = wukong_tf.WukongConfig(spec, embedding_dim=4, rank=2)
    served = ServedModel(random_model(config))
    sizes = []
    convert = tf2onnx.convert.from_function

    def spied(*args, **kwargs):
        proto, external = convert(*args, **kwargs)
        sizes.append(proto.ByteSize())
        return proto, external

    monkeypatch.setattr(tf2onnx.convert, "from_function", spied)
    onnx_model.write(served, str(tmp_path))
    weights = sum(np.asarray(w).nbytes for w in served.model.weights)
    tables = 30_000 * 4 * 4 + 20_000 * 5 * 4
    assert sizes[0] < weights - tables + files.GRAPH_BYTES / 100
    artifacts = onnx_model.load(served, str(tmp_path))
    parity.compare(served, samples(spec), artifacts).check()


def test_log1p_keeps_small_and_large_numbers(tmp_path):
    # A stddev this small makes the rounding of 1 + x visible.
    spec = FeatureSpec(numeric=(NumericFeature("price", "log1p", stddev=1e-6),))
    config = wukong_tf.LogisticRegressionConfig(spec)
    model = random_model(config)
    served = ServedModel(model)
    onnx_model.write(served, str(tmp_path))
    x = np.array([0, 1e-30, 1e-8, -3e-8, 1e-4, -0.5, 7, 2.0**63], np.float32)
    (artifact,) = onnx_model.load(served, str(tmp_path))
    got = artifact.score({"price": x})["logit"]
    want = served.serve({"price": tf.constant(x)})["logit"]
    exact = np.sign(x) * np.log1p(np.abs(x.astype(np.float64))) / 1e-6
    weights = {w.path.split("/", 1)[1]: np.asarray(w) for w in model.weights}
    kernel = weights["feature_embedding/numeric/dense_0/kernel"].item()
    bias = weights["feature_embedding/numeric/dense_0/bias"].item()
    exact = exact * kernel + bias + weights["bias"].item()
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(want, exact, rtol=1e-6, atol=1e-6)


def test_dense_weights_beyond_protobuf_are_refused(monkeypatch, tmp_path):
    model = random_model()
    tables = sum(layer.count_params() for layer in model.tables)
    dense = 4 * (model.count_params() - tables)
    limit = dense + files.GRAPH_BYTES
    monkeypatch.setattr(files, "MAX_BYTES", limit)
    files.check_size(model)
    monkeypatch.setattr(files, "MAX_BYTES", limit - 1)
    with pytest.raises(ExportError, match=f"dense weights take {dense:,}"):
        onnx_model.write(ServedModel(model), str(tmp_path))
    assert os.listdir(tmp_path) == []
