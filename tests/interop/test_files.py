"""State dicts in files, which are read without unpickling objects."""

import collections
import datetime
import json

import numpy as np
import pytest

from tests.errors import message
from tests.interop import states
from wukong_tf import interop
from wukong_tf.errors import ConfigError, InteropError

FEATURES = states.features("mlcc")


@pytest.fixture(params=["model.safetensors", "model.pt"])
def path(request, tmp_path):
    pytest.importorskip(
        "torch" if request.param.endswith(".pt") else "safetensors"
    )
    return tmp_path / request.param


def test_a_file_gives_what_its_state_dict_does(path):
    config, arrays = interop.read("mlcc", states.make("mlcc"), FEATURES)
    written = interop.write("mlcc", config, arrays, path)
    again, found = interop.read("mlcc", str(path), FEATURES)
    assert again == config
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert written.keys() == states.make("mlcc").keys()


def test_a_file_that_cannot_be_read_is_named(path):
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert str(path) in error and "cannot be read" in error
    path.write_bytes(b"nonsense" * 9)
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert str(path) in error


@pytest.mark.parametrize(
    "content", [b"", b"hello world", b"version https://git-lfs", b"<html>"]
)
def test_a_file_of_another_kind_says_so(content, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert str(path) in error and "is not a file of torch.save" in error
    assert repr(content[:2]) in error and "weights_only=False" not in error


def test_a_file_that_ends_early_is_named(path):
    config, arrays = interop.read("mlcc", states.make("mlcc"), FEATURES)
    interop.write("mlcc", config, arrays, path)
    path.write_bytes(path.read_bytes()[:-900])
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert f"{path}: cannot be read: " in error


def test_a_folder_that_is_missing_is_an_oserror(path):
    config, arrays = interop.read("mlcc", states.make("mlcc"), FEATURES)
    with pytest.raises(FileNotFoundError):
        interop.write("mlcc", config, arrays, path.parent / "no" / path.name)


@pytest.mark.parametrize("kind", ["sparse", "float8_e4m3fn"])
def test_tensors_that_numpy_has_not_are_named(kind, tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(v) for k, v in states.make("mlcc").items()}
    key = next(k for k, v in tensors.items() if v.ndim == 2)
    tensor = tensors[key]
    tensors[key] = (
        tensor.to_sparse()
        if kind == "sparse"
        else tensor.to(getattr(torch, kind))
    )
    torch.save(tensors, tmp_path / "model.pt")
    error = message(
        InteropError,
        lambda: interop.read("mlcc", tmp_path / "model.pt", FEATURES),
    )
    assert repr(key) in error


def test_a_checkpoint_of_torch_with_more_than_its_model(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {k: torch.from_numpy(v) for k, v in states.make("mlcc").items()}
    path = tmp_path / "last_checkpoint.pth"
    checkpoint = {
        "epoch": 1,
        "model_state_dict": collections.OrderedDict(tensors),
        "metrics": {"auc": 0.8},
    }
    torch.save(checkpoint, path)
    _, arrays = interop.read("mlcc", path, FEATURES)
    _, expected = interop.read("mlcc", tensors, FEATURES)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
    torch.save({**checkpoint, "at": datetime.date(2026, 1, 1)}, path)
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert "weights_only" in error and str(path) in error


def test_bfloat16_becomes_float32():
    torch = pytest.importorskip("torch")
    tensors = {
        key: torch.from_numpy(value).to(torch.bfloat16)
        for key, value in states.make("mlcc").items()
    }
    _, arrays = interop.read("mlcc", tensors, FEATURES)
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}


def write_safetensors(path, arrays, dtype):
    """Writes arrays by hand: the header's length, the header and the bytes."""
    header, content = {}, b""
    for key, array in arrays.items():
        begin, content = len(content), content + array.tobytes()
        header[key] = {
            "dtype": dtype,
            "shape": array.shape,
            "data_offsets": [begin, len(content)],
        }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_the_same_arrays_from_either_file(dtype, path):
    arrays, stored = {}, {}
    for key, value in states.make("mlcc").items():
        arrays[key] = stored[key] = value.astype(np.float16)
        if dtype == "bfloat16":  # the first half of a float32
            bits = value.astype(np.float32).view(np.uint32) >> 16
            arrays[key] = (bits << 16).view(np.float32)
            stored[key] = bits.astype(np.uint16)
    if path.suffix == ".safetensors":
        write_safetensors(path, stored, {"float16": "F16"}.get(dtype, "BF16"))
    else:
        torch = pytest.importorskip("torch")
        kind = getattr(torch, dtype)
        tensors = {k: torch.from_numpy(v).to(kind) for k, v in arrays.items()}
        torch.save(tensors, path)
    _, expected = interop.read("mlcc", arrays, FEATURES)
    _, found = interop.read("mlcc", path, FEATURES)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_float8_in_safetensors_is_named(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a.weight": np.ones((2, 3), np.uint8)}, "F8_E4M3")
    error = message(InteropError, lambda: interop.read("mlcc", path, FEATURES))
    assert error == (f"{path}: 'a.weight' has no counterpart in NumPy: F8_E4M3")


@pytest.mark.parametrize(
    ("name", "package"),
    [("model.safetensors", "safetensors"), ("model.bin", "torch")],
)
def test_a_package_that_is_missing_is_named(name, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    error = message(ConfigError, lambda: interop.read("mlcc", name, FEATURES))
    assert name in error and "[interop]" in error


@pytest.mark.parametrize("content", [{"mlp.0.weight": "x"}, {3: np.ones(2)}])
def test_what_is_no_state_dict(content):
    error = message(
        InteropError, lambda: interop.read("mlcc", content, FEATURES)
    )
    assert "must be the name of an array" in error
