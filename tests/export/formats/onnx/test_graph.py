"""What optimizing does to an ONNX graph, and what it leaves as it was."""

import dataclasses
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from export.formats.onnx import files
from export.formats.onnx import graph as onnx_graph
from export.formats.onnx import model as onnx_model
from export.proof import parity
from export.served.signatures import ServedModel
from tests import tiers
from tests.export.formats.onnx.test_passes import count_nodes
from tests.oracles import models as oracles
from tests.worlds.logs import as_table
from tests.worlds.served import (
    CONFIG,
    SPEC,
    columns,
    random_model,
    request,
    samples,
)
from tests.worlds.small_models import float64
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.runs.arrays import model_slots, read_arrays

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(folder, name="onnx"):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    path = os.path.join(folder, "onnx", onnx_model.FILES[name])
    return onnxruntime.InferenceSession(path, options)


def operators(path):
    return count_nodes(onnx.load(path, load_external_data=False).graph)


def kinds(folder):
    return operators(os.path.join(folder, onnx_model.FILE))


def norms(layer):
    """How many LayerNormalizations a layer holds."""
    return sum(
        isinstance(each, keras.layers.LayerNormalization)
        for each in layer._flatten_layers()
    )


@pytest.mark.parametrize("fm", tiers.first(["attentive", "full", "projected"]))
def test_every_layer_norm_is_one_operator(fm, tmp_path):
    config = dataclasses.replace(CONFIG, fm=fm, num_layers=3)
    model = random_model(config)
    served = ServedModel(model)
    raw, optimized = str(tmp_path / "raw"), str(tmp_path / "optimized")
    onnx_model.write(served, raw, onnx_model.Options(optimize=False))
    before, after = onnx_model.write(served, optimized)
    assert after < before < sum(kinds(raw).values())
    assert after == sum(kinds(optimized).values())
    assert "LayerNormalization" not in kinds(raw)
    assert kinds(optimized)["LayerNormalization"] == norms(model) >= 6
    assert "Reciprocal" not in kinds(optimized)
    for folder in (raw, optimized):
        artifacts = onnx_model.load(served, folder)
        table = samples()
        parity.compare(served, table, artifacts).check()


def test_norms_without_a_beta_are_found_too(tmp_path):
    # The converter drops additions of zeros, as in a new model.
    model = random_model()
    for weight in model.weights:
        if weight.path.endswith("beta"):
            weight.assign(np.zeros(weight.shape))
    served = ServedModel(model)
    onnx_model.write(served, str(tmp_path))
    assert kinds(str(tmp_path))["LayerNormalization"] == norms(model)
    artifacts = onnx_model.load(served, str(tmp_path))
    parity.compare(served, samples(), artifacts).check()


@pytest.mark.parametrize("opset", tiers.first([13, 16, 17]))
def test_an_older_opset(opset, tmp_path):
    served = ServedModel(random_model())
    options = onnx_model.Options(opset=opset)
    onnx_model.write(served, str(tmp_path), options)
    proto = onnx.load(tmp_path / "onnx" / "model.onnx")
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    assert opsets[""] == opset
    assert ("LayerNormalization" in kinds(str(tmp_path))) == (opset >= 17)
    artifacts = onnx_model.load(served, str(tmp_path))
    parity.compare(served, samples(), artifacts).check()


@pytest.mark.parametrize("rows", tiers.first([1, 7, 512]))
def test_every_batch_size_runs(published, rows):
    loaded = session(published)
    for value in (*loaded.get_inputs(), *loaded.get_outputs()):
        assert value.shape[0] == "batch"
    found = loaded.run(None, request(columns(rows=rows)))
    assert all(value.shape == (rows,) for value in found)


def test_ids_are_compared_as_integers(tmp_path):
    # In float32 2**24 + 1 is 2**24, and the id would be in range.
    rows = 2**24 + 1
    spec = FeatureSpec(
        (CategoricalFeature("big", rows), CategoricalFeature("small", 5))
    )
    model = random_model(LogisticRegressionConfig(spec))
    served = ServedModel(model)
    onnx_model.write(served, str(tmp_path))
    (artifact,) = onnx_model.load(served, str(tmp_path))
    small = np.array([1])
    artifact.score({"big": np.array([rows - 1]), "small": small})
    with pytest.raises(artifact.refusal):
        artifact.score({"big": np.array([rows]), "small": small})


def test_bags_and_raw_values_convert(tmp_path):
    spec = FeatureSpec(
        categorical=(
            CategoricalFeature("item", 30, oov_id=2),
            CategoricalFeature("tags", 12, pooling="mean", max_ids=4, oov_id=1),
            CategoricalFeature(
                "seen",
                9,
                pooling="sum",
                max_ids=3,
                weights="shares",
                embedding_dim=6,
            ),
        ),
        numeric=(NumericFeature("price", "log1p"),),
    )
    served = ServedModel(
        random_model(WukongConfig(spec, embedding_dim=4, rank=2))
    )
    import pyarrow as pa

    random = np.random.default_rng(5)
    rows = 20
    bags = [random.integers(1, 9, random.integers(0, 4)) for _ in range(rows)]
    table = pa.table(
        {
            "item": random.integers(0, 30, rows),
            "tags": pa.array([list(bag) for bag in bags], pa.list_(pa.int64())),
            "seen": pa.array([list(bag) for bag in bags], pa.list_(pa.int64())),
            "shares": pa.array(
                [list(random.random(len(bag))) for bag in bags],
                pa.list_(pa.float32()),
            ),
            "price": random.normal(size=rows),
        }
    )
    for name in ("onnx", "onnx_dense"):
        onnx_model.write(served, str(tmp_path), name=name)
        artifacts = onnx_model.load(served, str(tmp_path), name)
        parity.compare(served, table, artifacts).check()


def test_the_dense_file_takes_embeddings(tmp_path):
    model = random_model()
    served = ServedModel(model)
    before, after = onnx_model.write(served, str(tmp_path), name="onnx_dense")
    assert after < before
    loaded = session(str(tmp_path), "onnx_dense")
    shapes = {each.name: each.shape for each in loaded.get_inputs()}
    assert shapes == {
        "user": ["batch", 4],
        "item": ["batch", 4],
        "other": ["batch", 4],
        "site": ["batch", 6],
        "price": ["batch"],
        "age": ["batch"],
        "content": ["batch", 3],
    }
    path = tmp_path / "onnx" / "dense.onnx"
    assert "Shape" not in operators(str(path))
    weights = sum(np.asarray(weight).nbytes for weight in model.weights)
    tables = sum(np.asarray(layer.table).nbytes for layer in model.tables)
    stored = sum(
        onnx.numpy_helper.to_array(each).nbytes
        for each in onnx.load(path).graph.initializer
    )
    assert stored < weights - tables + 1000
    (artifact,) = onnx_model.load(served, str(tmp_path), "onnx_dense")
    raw = columns(seed=17)
    want = served.serve(request(raw))["logit"]
    got = artifact.score(served.rows_from_ids(request(raw)))["logit"]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def assert_in_two_files(folder, served):
    """The tables lie beside the file, aligned, and scores are right."""
    path = os.path.join(folder, onnx_model.FILE)
    proto = onnx.load(path, load_external_data=False)
    outside = {
        each.name: {entry.key: entry.value for entry in each.external_data}
        for each in proto.graph.initializer
        if each.data_location == onnx.TensorProto.EXTERNAL
    }
    assert set(outside) == {
        f"tables/{layer.plan.name}" for layer in served.model.tables
    }
    for each in outside.values():
        assert each["location"] == "model.onnx.data"
        assert int(each["offset"]) % 4096 == 0
    size = sum(int(each["length"]) for each in outside.values())
    assert os.path.getsize(f"{path}.data") >= size
    artifacts = onnx_model.load(served, folder)
    table = samples(served.spec)
    parity.compare(served, table, artifacts).check()


@pytest.mark.parametrize("limited", ["file", "tables"])
def test_large_tables_lie_beside_the_file(monkeypatch, tmp_path, limited):
    served = ServedModel(random_model())
    limit = files.GRAPH_BYTES + 40_000
    monkeypatch.setattr(files, "MAX_BYTES", limit)
    onnx_model.write(served, str(tmp_path))
    model = tmp_path / "onnx" / "model.onnx"
    assert os.listdir(tmp_path / "onnx") == ["model.onnx"]
    if limited == "tables":
        monkeypatch.setattr(files, "EMBEDDED_BYTES", 600)
    else:
        limit = files.GRAPH_BYTES + os.path.getsize(model) - 600
        monkeypatch.setattr(files, "MAX_BYTES", limit)
    monkeypatch.setattr(files.table_rows, "CHUNK_BYTES", 200)
    onnx_model.write(served, str(tmp_path))
    assert_in_two_files(str(tmp_path), served)


@pytest.mark.full
def test_a_model_of_more_than_two_gigabytes(tmp_path):
    """In a process of its own: TensorFlow keeps frozen graphs to its end."""
    code = f"import {__name__} as t; t.write_gigabytes({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert os.path.getsize(tmp_path / "onnx" / "model.onnx.data") > 2**31


def write_gigabytes(folder):
    spec = FeatureSpec(
        (
            CategoricalFeature("big", 17_000_000, oov_id=0),
            CategoricalFeature("small", 50, embedding_dim=6, oov_id=0),
        )
    )
    model = random_model(
        WukongConfig(spec, embedding_dim=32, num_layers=1, rank=1)
    )
    served = ServedModel(model)
    onnx_model.write(served, folder)
    assert_in_two_files(folder, served)


def test_columns_are_stacked_in_three_nodes(tmp_path):
    names = [f"f{number}" for number in range(6)]
    spec = FeatureSpec(
        tuple(CategoricalFeature(name, 9, oov_id=0) for name in names),
        vector=(VectorFeature("v", 2),),
    )
    served = ServedModel(
        random_model(WukongConfig(spec, embedding_dim=4, rank=2))
    )
    onnx_model.write(served, str(tmp_path))
    proto = onnx.load(tmp_path / "onnx" / "model.onnx")
    graph = onnx_graph.Graph(proto.graph)
    shapes = [graph.constant(n.input[1]) for n in graph.nodes("Reshape")]
    assert [6, -1] in [shape.tolist() for shape in shapes]
    assert [-1, 1] not in [shape.tolist() for shape in shapes]
    artifacts = onnx_model.load(served, str(tmp_path))
    parity.compare(served, samples(spec), artifacts).check()


def test_numbers_of_every_kind_go_in_one_chain(tmp_path):
    given = [
        {},
        {"transform": "log1p"},
        {"missing": 2.5},
        {"transform": "log1p", "missing": -1.0, "clip_min": -3.0},
        {"clip_min": 0.0, "clip_max": 9.0},
        {"mean": 3.0, "stddev": 7.0, "clip_max": 20.0},
    ]
    numeric = tuple(
        NumericFeature(f"n{place}", **kind) for place, kind in enumerate(given)
    )
    random = np.random.default_rng(9)
    values = {
        feature.name: random.normal(0, 1, 50).astype(np.float32)
        for feature in numeric
    }
    for value in values.values():
        value[:7] = [np.nan, 0, -0.0, 1e-30, np.nan, 25, -4]
    sizes = []
    for count in (2, 6):
        spec = FeatureSpec(numeric=numeric[:count])
        served = ServedModel(random_model(LogisticRegressionConfig(spec)))
        _, after = onnx_model.write(served, str(tmp_path))
        sizes.append(after)
        assert "Split" not in kinds(str(tmp_path))
        sent = {name: values[name] for name in spec.feature_names}
        artifacts = onnx_model.load(served, str(tmp_path))
        parity.compare(served, as_table(sent), artifacts).check()
        weights = read_arrays(model_slots(served.model))
        want = oracles.logistic_regression(spec, sent, float64(weights))
        got = artifacts[0].score(sent)["logit"]
        np.testing.assert_allclose(got, want[:, 0], rtol=1e-5, atol=1e-5)
    assert sizes[1] - sizes[0] < 12


def test_int8_products_are_near_and_few_bytes(tmp_path):
    served = ServedModel(random_model())
    options = onnx_model.Options(
        dense="int8", calibration=[request(columns(rows=300, seed=8))]
    )
    onnx_model.write(served, str(tmp_path), options)
    assert kinds(str(tmp_path))["QLinearMatMul"] > 4
    (artifact,) = onnx_model.load(served, str(tmp_path), tolerance=0.5)
    report = parity.compare(served, samples(), [artifact])
    report.check()
    assert 1e-4 < report.logit["onnx"] < 0.5
    assert SPEC.feature_names[0] in request(columns())
