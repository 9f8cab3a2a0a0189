"""Sends one request by somebody else's client: foreign.py KIND REST GRPC.

It reads {input: list of int64 or float32} from the standard input and writes
the lists of probabilities that came, as JSON. It imports nothing of ours, as
the packages want environments of their own.
"""

import asyncio
import importlib
import json
import sys

import numpy as np

PACKAGES = {
    "triton": "tritonclient.http",
    "kserve": "kserve",
    "min_tfs": "min_tfs_client.requests",
}
TYPES = {"int64": "INT64", "float32": "FP32"}


def inputs_of(package, columns, binary):
    """The columns as inputs of Triton's or KServe's client."""
    inputs = []
    for name, value in columns.items():
        kind = TYPES[value.dtype.name]
        inputs.append(package.InferInput(name, list(value.shape), kind))
        inputs[-1].set_data_from_numpy(value, binary_data=binary)
    return inputs


def triton(package, rest, _, columns):
    """Triton's client, with and without raw bytes, compressed and not."""
    client = package.InferenceServerClient(rest)
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("model")
    assert client.get_model_metadata("model")["name"] == "model"
    for binary in (True, False):
        inputs = inputs_of(package, columns, binary)
        wanted = package.InferRequestedOutput("probability", binary)
        for compression in (None, "gzip", "deflate"):
            reply = client.infer(
                "model",
                inputs,
                outputs=[wanted],
                request_compression_algorithm=compression,
            )
            yield reply.as_numpy("probability")
        yield client.infer("model", inputs).as_numpy("probability")


async def _kserve(package, rest, columns):
    address = f"http://{rest}"
    client = package.InferenceRESTClient(package.RESTConfig(protocol="v2"))
    assert await client.is_server_live(address)
    assert await client.is_server_ready(address)
    assert await client.is_model_ready(address, "model")
    found = []
    for binary in (True, False):
        inputs = inputs_of(package, columns, binary)
        request = package.InferRequest("model", inputs)
        reply = await client.infer(address, request, model_name="model")
        outputs = {each.name: each.as_numpy() for each in reply.outputs}
        found.append(outputs["probability"])
    client = package.InferenceRESTClient(package.RESTConfig(protocol="v1"))
    lists = [value.tolist() for value in columns.values()]
    pairs = (zip(columns, row, strict=True) for row in zip(*lists, strict=True))
    rows = [dict(each) for each in pairs]
    body = {"instances": rows}
    reply = await client.infer(address, body, model_name="model")
    found.append([row["probability"] for row in reply["predictions"]])
    return found


def kserve(package, rest, _, columns):
    """KServe's client, by both of its protocols."""
    return asyncio.run(_kserve(package, rest, columns))


def min_tfs(package, _, over_grpc, columns):
    """A client of TensorFlow Serving that does without TensorFlow."""
    host, port = over_grpc.split(":")
    client = package.TensorServingClient(host=host, port=int(port))
    tensors = importlib.import_module("min_tfs_client.tensors")
    for version in (None, 7):
        reply = client.predict_request("model", columns, 30, version)
        output = reply.outputs["probability"]
        yield tensors.tensor_proto_to_ndarray(output)


def main():
    """Sends and prints."""
    kind, rest, over_grpc = sys.argv[1:]
    package = importlib.import_module(PACKAGES[kind])
    columns = {
        name: np.array(value, np.int64 if is_whole else np.float32)
        for name, (is_whole, value) in json.load(sys.stdin).items()
    }
    found = globals()[kind](package, rest, over_grpc, columns)
    print(json.dumps([np.asarray(each).tolist() for each in found]))


if __name__ == "__main__":
    main()
