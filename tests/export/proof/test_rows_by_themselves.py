"""A row's score is a function of that row, in every artifact."""

import dataclasses
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.formats.onnx import model as onnx_model
from export.proof import parity
from export.served import requests
from export.served.signatures import ServedModel
from tests.export.client.test_clients import rows_of
from tests.export.server.running import serving
from tests.waiting import until
from tests.worlds.logs import as_table
from tests.worlds.served import (
    columns,
    random_model,
    samples,
)
from wukong_tf.errors import ExportError


@pytest.fixture(scope="module", params=["onnx", "onnx_dense"])
def int8(request, tmp_path_factory):
    """An artifact with integer products, and its model."""
    served = ServedModel(random_model())
    folder = str(tmp_path_factory.mktemp("int8"))
    rows = samples(rows=300, seed=8)
    options = onnx_model.Options(
        dense="int8", calibration=[requests.RequestEncodings(served).ids(rows)]
    )
    onnx_model.write(served, folder, options, request.param)
    (artifact,) = onnx_model.load(served, folder, request.param, 0.5)
    return served, artifact


def columns_of(served, artifact, rows):
    way = requests.RequestEncodings(served).by_name(artifact.takes)
    return way(as_table(rows))


@pytest.mark.parametrize("size", [1e4, 2.0**63])
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


@pytest.fixture(params=["int8", "onnx", "saved_model"])
def server(request, published, tmp_path):
    """A server whose version's products are of integers, or as published."""
    base = os.path.dirname(published)
    if request.param == "int8":
        base = str(tmp_path / "model")
        shutil.copytree(published, os.path.join(base, "7"))
        served = ServedModel(random_model())
        rows = samples(rows=300, seed=8)
        options = onnx_model.Options(
            dense="int8",
            calibration=[requests.RequestEncodings(served).ids(rows)],
        )
        onnx_model.write(served, os.path.join(base, "7"), options)
    engine = "onnx" if request.param == "int8" else request.param
    with serving(base, engine=engine, verify=False) as found:
        yield found


class Held:
    """Holds the computations of a server until they are let go."""

    def __init__(self, server):
        self.batches = []
        self.free = threading.Event()
        loaded = server.versions.current
        self.batcher = loaded.batchers["serving_default"]
        self._run, loaded.engine.run = loaded.engine.run, self.run

    def run(self, signature, sent):
        self.batches.append(len(sent["item"]))
        assert self.free.wait(30)
        return self._run(signature, sent)


@pytest.mark.parametrize("size", [1e4, 2.0**63])
def test_a_server_joins_strangers_without_a_trace(server, size):
    def logit(row):
        status, answer = server.post("predict", {"instances": [row]})
        return answer["predictions"][0]["logit"] if status == 200 else None

    rows = rows_of(columns(rows=8, seed=31))
    far = {**rows[0], "content": [size] * 3, "price": size, "age": size}
    alone = [logit(row) for row in [far, *rows]]
    held = Held(server)
    with ThreadPoolExecutor(10) as clients:
        first = clients.submit(logit, rows[0])
        until(lambda: held.batches)
        asked = [clients.submit(logit, row) for row in [far, *rows]]
        until(lambda: held.batcher.waiting_requests == len(asked))
        held.free.set()
        found = [each.result() for each in (first, *asked)]
    assert held.batches[:2] == [1, 9]
    assert (found[1] is None) == (alone[0] is None) and (
        found[1] is None or found[1] == pytest.approx(alone[0], rel=1e-5)
    )
    want = [alone[1], *alone[1:]]
    np.testing.assert_allclose([found[0], *found[2:]], want, rtol=0, atol=1e-5)


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
    report = parity.compare(served, samples(), [artifact])
    assert report.batches["onnx"] > parity.STEP
    with pytest.raises(ExportError, match="between batches"):
        report.check()
    parity.compare(
        served,
        samples(),
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
