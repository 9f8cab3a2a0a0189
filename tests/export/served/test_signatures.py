"""What a served request holds, in every format the same."""

import json
import os

import pytest
import tensorflow as tf

from export.formats import artifact
from wukong_tf.errors import ExportError

INPUTS = {
    "user": ("int64", (None,)),
    "item": ("int64", (None,)),
    "other": ("int64", (None,)),
    "site": ("int64", (None,)),
    "price": ("float32", (None,)),
    "age": ("float32", (None,)),
    "content": ("float32", (None, 3)),
}
OUTPUTS = {
    "probability": ("float32", (None,)),
    "logit": ("float32", (None,)),
}


def test_saved_model_has_the_signature(published):
    loaded = tf.saved_model.load(published)
    assert set(loaded.signatures) == {
        "serving_default",
        "tf_example",
        "regress",
        "classify",
    }
    function = loaded.signatures["serving_default"]
    args, inputs = function.structured_input_signature
    assert args == ()
    assert artifact.plain_specs(inputs) == INPUTS
    assert artifact.plain_specs(function.structured_outputs) == OUTPUTS


def test_onnx_has_the_signature(published):
    import onnx

    graph = onnx.load(os.path.join(published, "onnx", "model.onnx")).graph
    types = {onnx.TensorProto.INT64: "int64", onnx.TensorProto.FLOAT: "float32"}
    for values, expected in ((graph.input, INPUTS), (graph.output, OUTPUTS)):
        found = {}
        for value in values:
            tensor = value.type.tensor_type
            batch, *rest = tensor.shape.dim
            assert batch.dim_param == "batch"
            shape = (None, *(dim.dim_value for dim in rest))
            found[value.name] = (types[tensor.elem_type], shape)
        assert found == expected


def test_manifest_has_the_signature(published):
    with open(os.path.join(published, "manifest.json")) as file:
        found = json.load(file)["signatures"]
    signature = found["serving_default"]
    assert list(found["regress"]["inputs"]) == ["inputs"]
    for kind, expected in (("inputs", INPUTS), ("outputs", OUTPUTS)):
        assert signature[kind] == {
            name: {"dtype": dtype, "shape": list(shape)}
            for name, (dtype, shape) in expected.items()
        }


def test_an_artifact_of_another_signature_is_refused():
    with pytest.raises(ExportError, match="onnx: inputs must be .*'user'"):
        artifact.check_written("onnx", "inputs", INPUTS, {"user": ()})
