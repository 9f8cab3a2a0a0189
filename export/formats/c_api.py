"""Runs a SavedModel through TensorFlow's C API, without its Python loader.

State that is not in the graph itself, such as a table without an initializer,
is missing here just as in a server written in C++.
"""

import ctypes
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from export.formats.signature_session import TAG, Signature

_STRING_BYTES = 24  # of a TF_TString
_OK = 0


class _Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


# Codes of the types of results and arguments. Arrays are passed as pointers.
_TYPES: dict[str, Any] = {
    "v": None,
    "p": ctypes.c_void_p,
    "s": ctypes.c_char_p,
    "i": ctypes.c_int,
    "l": ctypes.c_int64,
    "z": ctypes.c_size_t,
}
# Functions that are called, with the types of their results and arguments.
_FUNCTIONS = {
    "TF_NewStatus": "p",
    "TF_DeleteStatus": "vp",
    "TF_GetCode": "ip",
    "TF_Message": "sp",
    "TF_NewSessionOptions": "p",
    "TF_DeleteSessionOptions": "vp",
    "TF_NewGraph": "p",
    "TF_DeleteGraph": "vp",
    "TF_LoadSessionFromSavedModel": "pppspippp",
    "TF_CloseSession": "vpp",
    "TF_DeleteSession": "vpp",
    "TF_GraphOperationByName": "pps",
    "TF_AllocateTensor": "pipiz",
    "TF_DeleteTensor": "vp",
    "TF_TensorData": "pp",
    "TF_TensorByteSize": "zp",
    "TF_NumDims": "ip",
    "TF_Dim": "lpi",
    "TF_TensorType": "ip",
    "TF_StringInit": "vp",
    "TF_StringCopy": "vpsz",
    "TF_StringGetDataPointer": "pp",
    "TF_StringGetSize": "zp",
    "TF_SessionRun": "vppppippipipp",
}


def _library():
    """Loads TensorFlow's library and sets the types of `_FUNCTIONS`."""
    folder = os.path.dirname(tf.__file__)
    library = ctypes.CDLL(
        os.path.join(folder, f"libtensorflow_cc.so.{tf.__version__[0]}")
    )
    for name, codes in _FUNCTIONS.items():
        function = getattr(library, name)
        result, *arguments = (_TYPES[code] for code in codes)
        function.restype, function.argtypes = result, arguments
    return library


class Session:
    """A session loaded by TensorFlow's C++ loader.

    Args:
        folder: directory of saved_model.pb.
        signatures: its signatures, by name.

    Raises:
        tf.errors.OpError: if it cannot be loaded.
    """

    def __init__(self, folder: str, signatures: Mapping[str, Signature]):
        self._signatures = signatures
        self._c = _library()
        self._status = self._c.TF_NewStatus()
        self._graph = self._c.TF_NewGraph()
        options = self._c.TF_NewSessionOptions()
        tags = (ctypes.c_char_p * 1)(TAG.encode())
        try:
            self._session = self._c.TF_LoadSessionFromSavedModel(
                options,
                None,
                os.fsencode(folder),
                tags,
                1,
                self._graph,
                None,
                self._status,
            )
            self._check()
        finally:
            self._c.TF_DeleteSessionOptions(options)

    def run(
        self, name: str, columns: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Runs a signature on columns, as `SignatureSession.run` does."""
        signature = self._signatures[name]
        feeds = {
            signature.inputs[column][0]: (value, signature.inputs[column][1])
            for column, value in {**signature.defaults, **columns}.items()
        }
        fetches = [info[0] for info in signature.outputs.values()]
        values = self.run_tensors(feeds, fetches)
        return dict(zip(signature.outputs, values, strict=True))

    def run_tensors(
        self, feeds: Mapping[str, tuple[Any, str]], fetches: list[str]
    ) -> list[np.ndarray]:
        """Returns the values of the tensors `fetches`.

        Args:
            feeds: tensor name to (value, dtype name).
            fetches: tensor names.

        Raises:
            tf.errors.OpError: if the graph rejects the request.
        """
        inputs = [self._tensor(value, dtype) for value, dtype in feeds.values()]
        results = (ctypes.c_void_p * len(fetches))()
        try:
            self._c.TF_SessionRun(
                self._session,
                None,
                self._places(feeds),
                (ctypes.c_void_p * len(inputs))(*inputs),
                len(inputs),
                self._places(fetches),
                results,
                len(fetches),
                None,
                0,
                None,
                self._status,
            )
            self._check()
            return [self._array(tensor) for tensor in results]
        finally:
            for tensor in (*inputs, *filter(None, results)):
                self._c.TF_DeleteTensor(tensor)

    def _places(self, names):
        places = (_Output * len(names))()
        for place, name in zip(places, names, strict=True):
            operation, _, index = name.partition(":")
            place.operation = self._c.TF_GraphOperationByName(
                self._graph, operation.encode()
            )
            place.index = int(index)
        return places

    def _tensor(self, value, dtype):
        kind = tf.dtypes.as_dtype(dtype)
        strings = kind == tf.string
        array = np.asarray(value, object if strings else kind.as_numpy_dtype)
        size = array.size * _STRING_BYTES if strings else array.nbytes
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self._c.TF_AllocateTensor(
            kind.as_datatype_enum, shape, array.ndim, size
        )
        data = self._c.TF_TensorData(tensor)
        if not strings:
            flat = np.ascontiguousarray(array)
            if size:
                ctypes.memmove(data, flat.ctypes.data, size)
            return tensor
        for place, text in enumerate(array.ravel()):
            text = text if isinstance(text, bytes) else text.encode()
            here = data + place * _STRING_BYTES
            self._c.TF_StringInit(here)
            self._c.TF_StringCopy(here, text, len(text))
        return tensor

    def _array(self, tensor):
        shape = [
            self._c.TF_Dim(tensor, axis)
            for axis in range(self._c.TF_NumDims(tensor))
        ]
        kind = tf.dtypes.as_dtype(self._c.TF_TensorType(tensor))
        data = self._c.TF_TensorData(tensor)
        if kind != tf.string:
            size = self._c.TF_TensorByteSize(tensor)
            content = ctypes.string_at(data, size) if size else b""
            return np.frombuffer(content, kind.as_numpy_dtype).reshape(shape)
        texts = [
            ctypes.string_at(
                self._c.TF_StringGetDataPointer(data + at),
                self._c.TF_StringGetSize(data + at),
            )
            for at in range(
                0, int(np.prod(shape)) * _STRING_BYTES, _STRING_BYTES
            )
        ]
        return np.array(texts, object).reshape(shape)

    def _check(self):
        code = self._c.TF_GetCode(self._status)
        if code != _OK:
            message = self._c.TF_Message(self._status).decode(errors="replace")
            kind = tf.compat.v1.errors.exception_type_from_error_code(code)
            raise kind(None, None, message)

    def close(self):
        """Closes the session and frees the model."""
        session, self._session = getattr(self, "_session", None), None
        if session:
            self._c.TF_CloseSession(session, self._status)
            self._c.TF_DeleteSession(session, self._status)
            self._c.TF_DeleteGraph(self._graph)
            self._c.TF_DeleteStatus(self._status)

    def __del__(self):
        self.close()
