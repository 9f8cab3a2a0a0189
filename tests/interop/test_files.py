"""State dicts in files, which are read without unpickling objects."""

import collections
import datetime

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
