"""The doors that clients of other servers knock at: KServe's and gRPC."""

import json
import os
import struct

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.client.grpc_client import GrpcClient
from export.client.retry import ServerError
from export.served import tf_examples
from tests.export.client.test_clients import rows_of
from tests.export.formats.test_saved_model import logits_of
from tests.export.server.running import serving
from tests.worlds.served import SPEC, columns, request

RAW = columns(rows=5, seed=81)
TYPES = {"int64": "INT64", "float32": "FP32"}


@pytest.fixture(scope="module", params=["onnx", "saved_model"])
def server(published, request):
    base = os.path.dirname(published)
    with serving(base, engine=request.param, with_grpc=True) as found:
        yield found


@pytest.fixture(scope="module")
def want(run_dir):
    return logits_of(run_dir, RAW)


def tensors(nested=False):
    return [
        {
            "name": name,
            "datatype": TYPES[value.dtype.name],
            "shape": list(value.shape),
            "data": (value if nested else value.ravel()).tolist(),
        }
        for name, value in request(RAW).items()
    ]


def infer(server, body, path="/v2/models/model/infer", headers=None):
    return server.ask("POST", path, body, headers)


def logits(answer):
    (found,) = [t for t in answer["outputs"] if t["name"] == "logit"]
    assert found["datatype"] == "FP32" and found["shape"] == [len(RAW["user"])]
    return found["data"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("version", ["", "/versions/7", "/labels/stable"])
def test_infer(server, want, nested, version):
    body = {"id": "a1", "inputs": tensors(nested)}
    path = f"/v2/models/model{version}/infer"
    status, answer = infer(server, body, path)
    assert status == 200, answer
    assert answer["id"] == "a1"
    assert (answer["model_name"], answer["model_version"]) == ("model", "7")
    np.testing.assert_allclose(logits(answer), want, rtol=0, atol=1e-5)
    assert len(answer["outputs"]) == 2
    body["outputs"] = [{"name": "probability"}]
    _, answer = infer(server, body, path)
    (only,) = answer["outputs"]
    sigmoid = 1 / (1 + np.exp(-want.astype(float)))
    np.testing.assert_allclose(only["data"], sigmoid, rtol=0, atol=1e-5)


def test_infer_with_raw_bytes(server, want):
    inputs, tail = [], b""
    for tensor, value in zip(tensors(), request(RAW).values(), strict=True):
        del tensor["data"]
        content = value.astype(value.dtype.newbyteorder("<")).tobytes()
        tensor["parameters"] = {"binary_data_size": len(content)}
        inputs.append(tensor)
        tail += content
    parameters = {"binary_data_output": True}
    head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    path = "/v2/models/model/infer"
    connection.request("POST", path, head + tail, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 200, content
    size = int(response.getheader("Inference-Header-Content-Length"))
    answer, left = json.loads(content[:size]), content[size:]
    found = {}
    for tensor in answer["outputs"]:
        length = tensor["parameters"]["binary_data_size"]
        found[tensor["name"]] = struct.unpack(f"<{length // 4}f", left[:length])
        left = left[length:]
    assert left == b""
    np.testing.assert_allclose(found["logit"], want, rtol=0, atol=1e-5)
    for body, bad in (
        (head + tail[:-1], str(len(head))),
        (head + tail + b"1", str(len(head))),
        (head + tail, str(len(head + tail) + 1)),
        (head + tail, "-1"),
        (head + tail, "x"),
        (head + tail, "9" * 5000),
        (head + tail, "3"),
    ):
        headers["Inference-Header-Content-Length"] = bad
        status, answer = infer(server, body, headers=headers)
        assert status == 400 and answer["error"]


def changed(tensor_name, /, **values):
    return [
        {**tensor, **values} if tensor["name"] == tensor_name else tensor
        for tensor in tensors()
    ]


def without(*names):
    return [each for each in tensors() if each["name"] not in names]


@pytest.mark.parametrize(
    "inputs, said",
    [
        (None, '"inputs"'),
        ([3], "objects"),
        ([*tensors(), tensors()[0]], "only once"),
        (without("item"), "'item' is missing"),
        (changed("item", name="nobody"), "'nobody'"),
        (changed("item", name=["a"]), "must be one of"),
        (changed("item", datatype="INT32"), "INT64"),
        (changed("item", datatype=None), "INT64"),
        (changed("item", shape=[4]), "4 values"),
        (changed("item", shape=[5, 1]), "shape"),
        (changed("item", shape=[-5]), "shape"),
        (changed("item", shape="5"), "shape"),
        (changed("item", shape=[10**18]), "values"),
        (changed("item", shape=[10**4299]), "shape"),
        (changed("item", shape=[True]), "shape"),
        (changed("content", shape=[10**4200, 10**4200]), "shape"),
        (changed("content", shape=[10**12, 0], data=[]), "shape"),
        (changed("content", shape=[5, 2], data=[0] * 10), "shape"),
        (changed("item", data=None), "no list"),
        (changed("item", data=[0, 0, 0, 0, "a"]), "'item', row 4"),
        (changed("item", data=[0, 0, 0, 0, 99]), "'item'"),
        (changed("item", data=[[0], 0, 0, 0, 0]), "'item'"),
        (changed("item", shape=[1], data=[0]), "rows"),
        (changed("content", data=[[1, 2, 3], 4]), "nested lists"),
        (changed("item", parameters={"binary_data_size": 8}), "left"),
        (changed("item", parameters={"binary_data_size": -8}), "bytes"),
        (changed("item", parameters=[]), "object"),
    ],
)
def test_a_bad_infer_is_refused(server, inputs, said):
    status, answer = infer(server, {"inputs": inputs})
    assert status == 400 and said in answer["error"], answer


def test_other_faults_of_an_infer(server):
    for outputs in (3, [3], [{"name": "x"}], [{}]):
        body = {"inputs": tensors(), "outputs": outputs}
        status, answer = infer(server, body)
        assert status == 400 and answer["error"]
    for body in (b"{", b"[]", {"inputs": [], "parameters": 3}):
        assert infer(server, body)[0] == 400
    for number in (3, float("nan"), ["a"]):
        body = {"inputs": tensors(), "id": number}
        assert infer(server, body)[0] == 400
    body = {"inputs": tensors(), "parameters": {"signature_name": "x"}}
    assert "'x'" in str(infer(server, body)[1]).replace('"', "'")
    path = "/v2/models/model/versions/9/infer"
    assert infer(server, {"inputs": tensors()}, path)[0] == 404


def test_what_the_protocol_says_of_a_model(server):
    for what in ("live", "ready"):
        assert server.ask("GET", f"/v2/health/{what}") == (200, {what: True})
    about = server.ask("GET", "/v2")[1]
    assert about.keys() == {"name", "version", "extensions"}
    for version in ("", "/versions/7", "/labels/stable"):
        path = f"/v2/models/model{version}"
        assert server.ask("GET", f"{path}/ready")[0] == 200
        _, model = server.ask("GET", path)
        assert (model["name"], model["versions"]) == ("model", ["7"])
        inputs = {each["name"]: each for each in model["inputs"]}
        assert inputs["content"]["shape"] == [-1, 3]
        assert inputs["content"]["datatype"] == "FP32"
        assert inputs["item"]["datatype"] == "INT64"
        assert {each["name"] for each in model["outputs"]} == {
            "probability",
            "logit",
        }
    assert server.ask("GET", "/v2/models/other/ready")[0] == 404
    assert server.ask("GET", "/v2/models/model/versions/8/ready")[0] == 404


@pytest.fixture
def stubs(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


def predict_request(**spec):
    asked = predict_pb2.PredictRequest()
    asked.model_spec.name = spec.pop("name", "model")
    asked.model_spec.signature_name = spec.pop("signature_name", "")
    for name, value in request(RAW).items():
        asked.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return asked


def test_predict_over_grpc(server, stubs, want):
    address = f"127.0.0.1:{server.grpc_port}"
    for how in ({}, {"version": 7}, {"label": "stable"}):
        with GrpcClient(address, "model", **how) as client:
            assert client.ready()
            assert client.status() == {7: "AVAILABLE"}
            found = client.predict(request(RAW))["logit"]
            np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)
    for how in ({"version": 8}, {"label": "canary"}):
        with GrpcClient(address, "model", **how) as client:
            assert not client.ready()
            with pytest.raises(ServerError, match="NOT_FOUND"):
                client.predict(request(RAW))
    asked = predict_request()
    asked.output_filter.append("logit")
    reply = stubs[0].Predict(asked)
    assert list(reply.outputs) == ["logit"]
    # As the server of TensorFlow writes it, which scripts read.
    np.testing.assert_allclose(
        reply.outputs["logit"].float_val, want, atol=1e-5
    )
    assert reply.model_spec.version.value == 7
    assert reply.model_spec.signature_name == "serving_default"


def examples():
    return [
        tf.train.Example.FromString(tf_examples.serialize(SPEC, row))
        for row in rows_of(RAW)
    ]


def test_regress_and_classify_over_grpc(stubs, want):
    sigmoid = 1 / (1 + np.exp(-want.astype(float)))
    for name in ("regress", ""):
        asked = regression_pb2.RegressionRequest()
        asked.model_spec.name = "model"
        asked.model_spec.signature_name = name
        asked.input.example_list.examples.extend(examples())
        reply = stubs[0].Regress(asked)
        got = [each.value for each in reply.result.regressions]
        np.testing.assert_allclose(got, sigmoid, rtol=0, atol=1e-5)
    asked = classification_pb2.ClassificationRequest()
    asked.model_spec.name = "model"
    shared = asked.input.example_list_with_context
    shared.examples.extend(examples())
    user = shared.examples[0].features.feature["user"]
    shared.context.features.feature["user"].CopyFrom(user)
    del shared.examples[0].features.feature["user"]
    reply = stubs[0].Classify(asked)
    for row, value in zip(reply.result.classifications, sigmoid, strict=True):
        assert [each.label for each in row.classes] == ["0", "1"]
        assert row.classes[1].score == pytest.approx(value, abs=1e-5)
        assert row.classes[0].score == pytest.approx(1 - value, abs=1e-5)


def test_metadata_and_status_over_grpc(stubs):
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "model"
    asked.metadata_field.append("signature_def")
    reply = stubs[0].GetModelMetadata(asked)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(found)
    inputs = found.signature_def["serving_default"].inputs
    assert inputs["content"].dtype == tf.float32.as_datatype_enum
    sizes = [each.size for each in inputs["content"].tensor_shape.dim]
    assert sizes == [-1, 3]
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "model"
    (state,) = stubs[1].GetModelStatus(asked).model_version_status
    kind = get_model_status_pb2.ModelVersionStatus
    assert (state.version, state.state) == (7, kind.AVAILABLE)
    assert state.status.error_code == 0


def refusal(call, asked):
    with pytest.raises(grpc.RpcError) as caught:
        call(asked)
    return caught.value.code().name, caught.value.details()


def test_bad_calls_over_grpc(stubs):
    predict = stubs[0].Predict
    code, said = refusal(predict, predict_request(name="other"))
    assert code == "NOT_FOUND" and "other" in said
    code, said = refusal(predict, predict_request(signature_name="x"))
    assert code == "INVALID_ARGUMENT" and '"x"' in said
    for value, match in (
        (tf.make_tensor_proto(np.int32([1] * 5)), "int64"),
        (tf.make_tensor_proto(["a"] * 5), "int64"),
        (tf.make_tensor_proto(np.int64(3)), "scalar"),
        (tf.make_tensor_proto(np.int64([1] * 4)), "rows"),
        (tf.make_tensor_proto(np.int64([[1]] * 5)), "row 0"),
        (tf.make_tensor_proto(np.int64([99] * 5)), "'item'"),
    ):
        asked = predict_request()
        asked.inputs["item"].CopyFrom(value)
        code, said = refusal(predict, asked)
        assert code == "INVALID_ARGUMENT" and match in said
    many = tf.make_tensor_proto(np.int64(1), shape=[1])
    many.tensor_shape.dim[0].size = 10**12
    none = tf.make_tensor_proto(np.zeros([1, 3], np.float32))
    none.tensor_shape.dim[0].size, none.tensor_shape.dim[1].size = 10**12, 0
    for name, value in (("item", many), ("content", none), ("x", many)):
        asked = predict_request()
        asked.inputs[name].CopyFrom(value)
        code, said = refusal(predict, asked)
        assert code == "INVALID_ARGUMENT" and "values of their shapes" in said
    for number in (0, 2, 3, 7, 14, 20, 21, 23, 99, 101):
        asked = predict_request()
        asked.inputs["item"].dtype = number
        code, said = refusal(predict, asked)
        assert code == "INVALID_ARGUMENT" and "'item': must be" in said
    asked = predict_request()
    del asked.inputs["item"]
    assert "'item' is missing" in refusal(predict, asked)[1]
    asked = predict_request()
    asked.output_filter.append("nothing")
    assert "'nothing'" in refusal(predict, asked)[1]
    asked = get_model_metadata_pb2.GetModelMetadataRequest()
    asked.model_spec.name = "model"
    code, said = refusal(stubs[0].GetModelMetadata, asked)
    assert code == "INVALID_ARGUMENT" and "signature_def" in said
    for name in ("", "model"):
        asked = regression_pb2.RegressionRequest()
        asked.model_spec.name = name
        asked.input.example_list.examples.add()
        code, said = refusal(stubs[0].Regress, asked)
        assert code == ("INVALID_ARGUMENT" if name else "NOT_FOUND")


@pytest.mark.parametrize(
    "name, kind, value",
    [
        ("item", "float_list", 3.0),
        ("item", "bytes_list", b"3"),
        ("price", "int64_list", 3),
        ("content", "int64_list", 3),
    ],
)
def test_features_of_other_types_are_refused(stubs, name, kind, value):
    asked = regression_pb2.RegressionRequest()
    asked.model_spec.name = "model"
    asked.input.example_list.examples.extend(examples())
    features = asked.input.example_list.examples[1].features.feature
    count = len(features[name].ListFields()[0][1].value)
    features[name].Clear()
    getattr(features[name], kind).value.extend([value] * count)
    code, said = refusal(stubs[0].Regress, asked)
    assert code == "INVALID_ARGUMENT"
    assert f"{name!r}, row 1: must be" in said and kind in said


def test_what_is_not_served_says_so(stubs):
    from tensorflow_serving.apis import inference_pb2, model_management_pb2

    asked = inference_pb2.MultiInferenceRequest()
    assert refusal(stubs[0].MultiInference, asked)[0] == "UNIMPLEMENTED"
    asked = model_management_pb2.ReloadConfigRequest()
    assert refusal(stubs[1].HandleReloadConfigRequest, asked)[0] == (
        "UNIMPLEMENTED"
    )
