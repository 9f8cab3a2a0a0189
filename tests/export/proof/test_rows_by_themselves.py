"""A row's score is a function of that row, in every artifact."""

import dataclasses
import os

import numpy as np
import pytest

from export.formats.onnx import model as onnx_model
from export.proof import parity
from export.served import requests
from export.served.signatures import ServedModel
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
    rows = sample_table(columns(rows=300, seed=8))
    options = onnx_model.Options(
        dense="int8", calibration=[requests.Ways(served).ids(rows)]
    )
    onnx_model.write(served, folder, options, request.param)
    (artifact,) = onnx_model.load(served, folder, request.param, 0.5)
    return served, artifact


def columns_of(served, artifact, rows):
    way = requests.Ways(served).by_name(artifact.takes)
    return way(sample_table(rows))


@pytest.mark.parametrize("size", [1e4, 1e30])
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
    assert report.batches["onnx"] > parity.STEP
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
