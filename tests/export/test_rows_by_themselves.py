"""A row's score is a function of that row, in every artifact."""

import dataclasses
import os

import numpy as np
import pytest

from export import onnx_int8, onnx_model, parity, requests
from export.onnx_graph import Graph
from export.signatures import ServedModel
from tests.export.run_directories import (
    columns,
    random_model,
    sample_table,
)
from wukong_tf.errors import ExportError


@pytest.fixture(scope="module", params=["onnx", "onnx_dense"])
def int8(request, tmp_path_factory):
    """An artifact with integer products, and its model."""
    served = ServedModel(random_model())
    folder = str(tmp_path_factory.mktemp("int8"))
    options = onnx_model.Options(dense="int8")
    onnx_model.write(served, folder, options, request.param)
    (artifact,) = onnx_model.load(served, folder, request.param, 0.5)
    return served, artifact


def columns_of(served, artifact, rows):
    way = requests.Ways(served).by_name(artifact.takes)
    return way(sample_table(rows))


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_an_extreme_row_leaves_the_others_alone(int8, size):
    served, artifact = int8
    raw = columns(rows=9, seed=31)
    among = artifact.score(columns_of(served, artifact, raw))["logit"]
    raw["content"][8] = size
    raw["price"][8] = size
    sent = columns_of(served, artifact, raw)
    if size == 1e4:
        beside = artifact.score(sent)["logit"][:8]
        np.testing.assert_allclose(beside, among[:8], rtol=0, atol=1e-5)
    for row in range(8):
        one = {name: value[row : row + 1] for name, value in sent.items()}
        alone = artifact.score(one)["logit"]
        np.testing.assert_allclose(alone, among[row], rtol=0, atol=1e-5)


def test_the_gate_refuses_a_scale_of_the_whole_batch(tmp_path):
    """As onnxruntime's own dynamic quantization has."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    served = ServedModel(random_model())
    onnx_model.write(served, str(tmp_path))
    path = os.path.join(str(tmp_path), onnx_model.FILE)
    quantize_dynamic(
        path,
        path,
        op_types_to_quantize=["MatMul", "Gemm"],
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    (artifact,) = onnx_model.load(served, str(tmp_path), tolerance=100.0)
    report = parity.compare(served, sample_table(columns()), [artifact])
    assert report.batches["onnx"] > 1e-3
    with pytest.raises(ExportError, match="between batches"):
        report.check()
    parity.compare(
        served,
        sample_table(columns()),
        [dataclasses.replace(artifact, score=_by_row(artifact))],
    ).check()


def _by_row(artifact):
    def score(sent):
        rows = len(next(iter(sent.values())))
        parts = [
            artifact.score({n: v[row : row + 1] for n, v in sent.items()})
            for row in range(rows)
        ]
        return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}

    return score


def product_of(x, weights, bias):
    """The rule in NumPy: x_i W = s_i (q_i V) t."""
    steps = np.abs(weights).max(0) / onnx_int8.WEIGHT_STEPS
    kept = np.rint(weights / steps)
    scale = np.abs(x).max(-1, keepdims=True) / onnx_int8.ROW_STEPS
    q = np.rint(x / np.maximum(scale, 1e-30))
    return (q @ kept) * scale * steps + bias


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "turned"])
def test_a_product_is_that_of_the_rule(kind, opset):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(5)
    weights = random.normal(size=(6, 4)).astype(np.float32)
    bias = np.zeros(4, np.float32)
    stored = weights.T.copy() if kind == "turned" else weights
    constants = {"w": stored}
    if kind != "MatMul":
        bias = random.normal(size=4).astype(np.float32)
        constants["b"] = bias
    options = {"transB": 1} if kind == "turned" else {}
    node = helper.make_node(
        "MatMul" if kind == "MatMul" else "Gemm",
        ["x", *constants],
        ["y"],
        **options,
    )
    shapes = [None, 3, 6] if kind == "MatMul" else [None, 6]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT, [*shapes[:-1], 4]
            )
        ],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    onnx_int8.quantize(model.graph, opset)
    assert Graph(model.graph).nodes("MatMulInteger")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = random.normal(size=[5, *shapes[1:]]).astype(np.float32)
    x[2] = 0
    x[3] *= 1e4
    (got,) = session.run(None, {"x": x})
    want = product_of(x.astype(float), weights.astype(float), bias)
    scale = np.abs(want).max(-1, keepdims=True)
    np.testing.assert_array_less(np.abs(got - want), 1e-5 * scale + 1e-6)
