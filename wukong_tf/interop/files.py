"""Reads and writes state dicts; nothing is unpickled but tensors."""

import os
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np

from wukong_tf import extras, files
from wukong_tf.errors import InteropError

Source = str | os.PathLike[str] | Mapping[str, Any]

_SAFETENSORS = ".safetensors"
# Keys of checkpoints that hold a state dict among other values.
_WRAPPERS = ("model_state_dict", "state_dict")
# Of a zip archive, and of the pickles that torch.save wrote before.
_TORCH_STARTS = (b"PK", b"\x80")


def load(source: Source) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict by key.

    Args:
        source: path of a .safetensors file, path of any other file that
            torch.save wrote, or a dict of arrays or of torch's tensors. A
            state dict under "model_state_dict" or "state_dict" is found there.

    Raises:
        ConfigError: the package that reads the file is not installed.
        InteropError: the file cannot be read, or holds other than arrays.
    """
    content: Any = source
    where = "the state dict"
    if not isinstance(source, Mapping):
        where = os.fspath(source)
        content = _read(where)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and wrapper in content:
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise InteropError(
            f"{where}: expected a state dict; received "
            f"{type(content).__name__}."
        )
    return {key: _array(where, key, value) for key, value in content.items()}


def save(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]):
    """Writes arrays to a .safetensors file, or else by torch.save.

    Raises:
        ConfigError: the package that writes the file is not installed.
        OSError: the file cannot be written.
    """
    name = os.fspath(path)
    whole = {k: np.ascontiguousarray(array) for k, array in arrays.items()}
    extras.require(f"interop: writing {name}", _package(name))
    with files.atomic_path(name) as temporary:
        # The packages report a folder that is missing as errors of their own.
        with open(temporary, "wb") as file:
            if name.endswith(_SAFETENSORS):
                from safetensors import numpy

                file.write(numpy.save(whole))
                return
            import torch

            tensors = {k: torch.from_numpy(v.copy()) for k, v in whole.items()}
            torch.save(tensors, file)


def _package(path):
    return "safetensors" if path.endswith(_SAFETENSORS) else "torch"


def _read(path):
    extras.require(f"interop: reading {path}", _package(path))
    try:
        if path.endswith(_SAFETENSORS):
            return _read_safetensors(path)
        return _read_torch(path)
    except InteropError:
        raise
    except UnpicklingError as error:
        raise InteropError(
            f"{path}: only tensors are read, by weights_only=True; save "
            f"model.state_dict() again. torch: {_first_line(error)}"
        ) from error
    except Exception as error:  # of any kind: both read what a file holds
        raise InteropError(
            f"{path}: cannot be read: {_first_line(error)}"
        ) from error


def _read_safetensors(path):
    import ml_dtypes  # noqa: F401  of Keras; NumPy has bfloat16 by it
    from safetensors import safe_open

    arrays = {}
    with safe_open(path, framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118  it is not a mapping
            try:
                arrays[key] = file.get_tensor(key)
            except Exception as error:  # of any kind, by the dtype
                dtype = file.get_slice(key).get_dtype()
                raise _unknown(path, key, dtype) from error
    return arrays


def _read_torch(path):
    import torch

    with open(path, "rb") as file:
        start = file.read(2)
    if not start.startswith(_TORCH_STARTS):
        raise InteropError(
            f"{path}: is not a file of torch.save, which starts with "
            f"{' or '.join(map(repr, _TORCH_STARTS))}; received {start!r}."
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def _first_line(error):
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}"


def _unknown(where, key, what):
    return InteropError(f"{where}: {key!r} has no counterpart in NumPy: {what}")


def _array(where, key, value) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has none
            value = value.float()
        try:
            value = value.numpy()
        except (TypeError, RuntimeError) as error:  # sparse, or float8
            raise _unknown(where, key, _first_line(error)) from error
    elif str(getattr(value, "dtype", "")) == "bfloat16":  # of ml_dtypes
        value = value.astype(np.float32)
    if not isinstance(key, str) or not isinstance(value, np.ndarray):
        raise InteropError(
            f"{where}: {key!r} must be the name of an array; received "
            f"{type(value).__name__}."
        )
    return value
