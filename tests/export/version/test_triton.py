"""A Triton model repository, and what files say of their run."""

import importlib.util
import json
import os

import onnx
import pytest
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from export.version import published as versions
from export.version import triton
from tests.export.conftest import run_main
from wukong_tf.errors import ExportError


def facts(published):
    manifest = versions.read(published).manifest
    return {
        "run": manifest["run"],
        "step": str(manifest["checkpoint"]["step"]),
        "digest": manifest["checkpoint"]["digest"],
        "made_by": f"wukong_tf {manifest['versions']['wukong_tf']}",
    }


def parsed(text):
    """A config by Triton's own proto, which tritonclient carries."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    folder = package.submodule_search_locations[0]
    path = os.path.join(folder, "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return text_format.Parse(text, module.ModelConfig()), module


def test_files_say_what_run_they_are_of(published):
    model = onnx.load(os.path.join(published, "onnx", "model.onnx"))
    found = {each.key: each.value for each in model.metadata_props}
    name = {"model": "model", "version": "7"}
    assert found == {**name, **facts(published), "opset": "18"}
    with open(os.path.join(published, "saved_model.pb"), "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    (graph,) = proto.meta_graphs
    said = json.loads(graph.meta_info_def.meta_graph_version)
    assert said == {**name, **facts(published)}


def test_the_layout_holds_the_version_s_own_file(published, tmp_path):
    triton.write(published, str(tmp_path / "models"), "clicks", [1, 8])
    model = tmp_path / "models" / "clicks"
    assert sorted(os.listdir(model)) == [
        "7",
        "config.pbtxt",
        "features.json",
    ]
    assert os.listdir(model / "7") == ["model.onnx"]
    with open(os.path.join(published, "onnx", "model.onnx"), "rb") as file:
        assert (model / "7" / "model.onnx").read_bytes() == file.read()
    with pytest.raises(ExportError, match="never overwritten"):
        triton.write(published, str(tmp_path / "models"), "clicks", [1, 8])


def test_the_config_is_what_triton_s_proto_and_back_end_want(published):
    about = versions.read(published)
    config, proto = parsed(triton.config(about, 'a "名"', [1, 8, 64]))
    assert (config.name, config.backend) == ('a "名"', "onnxruntime")
    assert config.max_batch_size == 64
    assert config.HasField("dynamic_batching")
    graph = onnx.load(os.path.join(published, "onnx", "model.onnx")).graph
    for there, values in (
        (config.input, graph.input),
        (config.output, graph.output),
    ):
        assert len(there) == len(values)
        by_name = {value.name: value for value in values}
        for each in there:
            value = by_name[each.name]
            tensor = value.type.tensor_type
            kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
            want = {"FLOAT": "TYPE_FP32", "INT64": "TYPE_INT64"}[kind]
            assert proto.DataType.Name(each.data_type) == want
            rest = [dim.dim_value for dim in tensor.shape.dim[1:]]
            assert list(each.dims) == (rest or [1])
            assert each.HasField("reshape") == (not rest)
            assert not each.reshape.shape
    assert [each.batch_size for each in config.model_warmup] == [1, 8, 64]
    for each in config.model_warmup:
        assert each.inputs.keys() == {v.name for v in graph.input}
        assert all(value.zero_data for value in each.inputs.values())
    said = {k: v.string_value for k, v in config.parameters.items()}
    assert said == facts(published)


def test_it_needs_the_onnx_file(run_dir, tmp_path):
    code, _, error = run_main(
        f"--run_dir={run_dir}",
        f"--output={tmp_path / 'out'}",
        "--format=saved_model",
        f"--triton={tmp_path / 'models'}",
    )
    assert code == 2 and "--triton needs --format=onnx" in error
    assert not os.listdir(tmp_path)
