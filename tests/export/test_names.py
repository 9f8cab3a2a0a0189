"""Names of all kinds through every signature, file, engine and client."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from export import score
from export.client import encode
from export.client.encode import Encoder
from export.client.grpc_client import GrpcClient
from export.client.rest import RestClient
from export.formats.onnx import graph as onnx_graph
from export.served import naming
from tests.export import stand_in
from tests.export.conftest import exported
from tests.export.server.running import serving
from tests.worlds.logs import as_table
from tests.worlds.served import (
    columns,
    make_run,
    request,
)
from wukong_tf import runs
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
    VectorFeature,
)
from wukong_tf.names import identifier

pytestmark = pytest.mark.full
SPEC = FeatureSpec(
    (
        CategoricalFeature("价格", 11),
        CategoricalFeature("城市", 9, embedding_dim=6, oov_id=2),
        CategoricalFeature("user id", 7, oov_id=2),
        CategoricalFeature("user_id", 7, embedding_dim=6, oov_id=2),
        CategoricalFeature("User_ID", 7, embedding_dim=6, oov_id=2),
        CategoricalFeature("file", 5, embedding_dim=2, embedding_group="g g"),
        CategoricalFeature("class", 5, embedding_dim=2, embedding_group="g g"),
        CategoricalFeature("__proto__", 5, oov_id=2),
    ),
    (
        NumericFeature('it\'s "here"\n🚀'),
        NumericFeature("é"),
        NumericFeature("e\u0301"),
        NumericFeature("点 击_probability"),
        NumericFeature("Identity:0"),
        NumericFeature("1st"),
        NumericFeature("self"),
        NumericFeature("raw_columns"),
        NumericFeature("x" * 300),
    ),
    (VectorFeature("inputs", 2), VectorFeature("$v-1", 2)),
    tasks=(
        Task("点 击", "label"),
        Task("User_ID", "价格 "),
    ),
    embedding_groups=(EmbeddingGroup("g g", 1, (3,)),),
)
RAW = columns(SPEC, rows=6, seed=5)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    run_dir = make_run(str(folder / "run"), LogisticRegressionConfig(SPEC))
    exported(
        run_dir,
        f"{folder}/model",
        "--version=3",
        "--format=saved_model,onnx,onnx_dense",
        "--batch_sizes=2",
        "--context_features=价格,user id,e\u0301",
    )
    return str(folder / "model" / "3")


@pytest.fixture(scope="module")
def expected(version):
    """Probabilities by output, of the checkpoint's own model."""
    run_dir = os.path.join(version, "..", "..", "run")
    model = runs.load_run(run_dir)
    logits = model({k: v for k, v in RAW.items() if k in SPEC.feature_names})
    names = naming.output_names(SPEC)
    found = {
        names[task][0]: 1 / (1 + np.exp(-np.asarray(value)[:, 0]))
        for task, value in logits.items()
    }
    assert len({tuple(v) for v in found.values()}) == len(SPEC.tasks)
    return found


def assert_scores(found, expected):
    for name, want in expected.items():
        np.testing.assert_allclose(found[name], want, atol=1e-5, err_msg=name)


def rows_of(raw):
    lists = {name: value.tolist() for name, value in raw.items()}
    rows = zip(*lists.values(), strict=True)
    return [dict(zip(lists, row, strict=True)) for row in rows]


def test_an_output_called_as_a_feature_has_a_name_of_its_own():
    names = naming.output_names(SPEC)
    assert names["点 击"] == ("点 击_probability_", "点 击_logit")
    assert names["User_ID"] == ("User_ID_probability", "User_ID_logit")
    one = FeatureSpec(
        numeric=tuple(NumericFeature(n) for n in ("logit", "logit_", "x"))
    )
    assert naming.output_names(one) == {"click": ("probability", "logit__")}


def test_the_python_loader_takes_and_gives_users_names(version, expected):
    loaded = tf.saved_model.load(version)
    assert "点 击_regress" in loaded.signatures
    function = loaded.signatures["serving_default"]
    with open(os.path.join(version, "manifest.json"), encoding="utf-8") as file:
        keywords = json.load(file)["python_keywords"]
    # Those that the loader cannot tell apart, and a method's own.
    assert set(keywords) == {"user id", "self"}
    inputs = {
        keywords.get(name, name): tf.constant(value)
        for name, value in request(RAW, SPEC).items()
    }
    assert_scores(function(**inputs), expected)


def test_the_manifest_lists_what_stands_for_names(version):
    with open(os.path.join(version, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    listed = manifest["identifiers"]
    for name in ("价格", "user id", "$v-1", "g g", "点 击"):
        assert listed[name] == identifier(name)
    assert "user_id" not in listed
    signature = manifest["signatures"]["serving_default"]
    assert set(signature["inputs"]) == set(SPEC.feature_names)


def test_the_graph_of_onnx_has_users_names(version):
    path = os.path.join(version, "onnx", "model.onnx")
    graph = onnx.load(path).graph
    assert {each.name for each in graph.input} == set(SPEC.feature_names)
    values = [each.name for each in (*graph.input, *graph.initializer)]
    values += [name for node in graph.node for name in node.output]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_the_server_takes_and_gives_users_names(version, expected, engine):
    raw = request(RAW, SPEC)
    rows = rows_of(raw)
    lists = {name: value.tolist() for name, value in raw.items()}
    with serving(version, engine=engine) as server:
        status, answer = server.post("predict", {"instances": rows})
        assert status == 200, answer
        by_row = answer["predictions"]
        assert_scores({n: [r[n] for r in by_row] for n in by_row[0]}, expected)
        _, answer = server.post("predict", {"inputs": lists})
        assert_scores(answer["outputs"], expected)
        for task, (name, _) in naming.output_names(SPEC).items():
            body = {"signature_name": f"{task}_regress", "examples": rows}
            _, answer = server.post("regress", body)
            np.testing.assert_allclose(
                answer["results"], expected[name], atol=1e-5
            )
        status, about = server.ask("GET", "/v1/models/model/metadata")
        found = about["metadata"]["signature_def"]["signature_def"]
        inputs = found["serving_default"]["inputs"]
        assert set(inputs) == set(SPEC.feature_names)


def test_clients_send_users_names(version, expected):
    raw = request(RAW, SPEC)
    with stand_in.running(version, "model", 3) as (rest, over_grpc, _):
        with GrpcClient(over_grpc, "model") as client:
            assert_scores(client.predict(raw), expected)
        with RestClient(rest, "model") as client:
            by_row = client.predict(rows_of(raw))
            found = {name: [r[name] for r in by_row] for name in by_row[0]}
            assert_scores(found, expected)


def test_files_are_scored_by_users_names(version, expected, tmp_path):
    path = str(tmp_path / "rows.parquet")
    pq.write_table(as_table(RAW), path)
    for engine in ("onnx", "saved_model"):
        output = tmp_path / engine
        output.mkdir()
        score.score(score.Score(version, (path,), str(output), engine=engine))
        table = pq.read_table(output / "rows.parquet")
        assert_scores(table.to_pydict(), expected)


def test_the_encoder_writes_inputs_of_any_name(version, tmp_path):
    import onnxruntime

    path = os.path.join(version, "features.json")
    rows = rows_of(request(RAW, SPEC))
    out = subprocess.run(
        [sys.executable, encode.__file__, f"--features={path}"],
        input="".join(json.dumps(row) + "\n" for row in rows).encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    (tmp_path / "a.npz").write_bytes(out)
    with np.load(tmp_path / "a.npz") as archive:
        inputs = {name: archive[name] for name in archive.files}
    for name, value in Encoder.from_file(path).encode(rows).items():
        np.testing.assert_array_equal(inputs[name], value, err_msg=name)
    session = onnxruntime.InferenceSession(
        os.path.join(version, "onnx", "model.onnx")
    )
    assert len(session.run(None, inputs)) == 2 * len(SPEC.tasks)


def test_names_that_numpy_would_mix_up_are_refused(tmp_path):
    arrays = {"a": np.zeros(1), "a.npy": np.ones(1)}
    with open(tmp_path / "x", "wb") as file:
        with pytest.raises(ValueError, match="'a' and 'a.npy'"):
            encode.write_inputs(file, arrays)


def test_renaming_makes_room_for_users_names():
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Neg", ["a"], ["x"]),
            onnx.helper.make_node("Neg", ["x"], ["b"]),
        ],
        "g",
        [value("a", onnx.TensorProto.FLOAT, [1])],
        [value("b", onnx.TensorProto.FLOAT, [1])],
    )
    onnx_graph.rename(graph, {"a": "x", "b": "x:0"})
    first, second = graph.node
    assert (first.input[0], second.output[0]) == ("x", "x:0")
    assert first.output[0] == second.input[0] == "x:1"
    onnx.checker.check_graph(graph)
