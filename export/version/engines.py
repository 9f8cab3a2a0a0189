"""Engines that compute a version's scores: onnxruntime or TensorFlow."""

import logging
import os
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from export.client.encode import Encoder
from export.served import naming
from export.version.published import FEATURES, Published, SignatureSpec
from wukong_tf import extras
from wukong_tf.errors import ExportError

Columns = dict[str, np.ndarray]
NAMES = ("onnx", "saved_model")
_PACKAGES = {"onnx": "onnxruntime", "saved_model": "tensorflow"}
_REFUSED = "every id must be in range, and every score finite."
log = logging.getLogger("wukong.serve")


class Refused(ValueError):
    """Raised if the model rejects a request; the message says why."""


class Engine(Protocol):
    """Runs the signatures of one version; safe for use by several threads."""

    name: str
    signatures: dict[str, SignatureSpec]

    def run(self, signature: str, columns: Columns) -> Columns:
        """Returns all outputs.

        Raises:
            Refused: if the model rejects the request.
        """
        ...

    def close(self):
        """Frees the model."""
        ...


def choose(published: Published, name: str = "auto") -> str:
    """Returns the name of the engine for a version.

    Args:
        published: the version.
        name: "onnx", "saved_model" or "auto". "auto" prefers ONNX, which is
            faster, for requests of ids, and the SavedModel, whose graph
            encodes them, for raw values. It falls back to the other if the
            format or a package is missing. Defaults to "auto".

    Raises:
        ExportError: if the version lacks the format.
        ConfigError: if a package that the engine needs is missing.
    """
    available = [engine for engine in NAMES if engine in published.formats]
    if name == "auto":
        if published.has_raw:
            available.reverse()
        if not available:
            raise ExportError(
                f"{published.path}: one of the formats {list(NAMES)} is "
                f"needed; the version has {published.formats}."
            )
        name = available[0]
        if len(available) > 1 and (reason := extras.lack(_PACKAGES[name])):
            log.warning("--engine=%s: %s", name, reason)
            name = available[1]
    if name not in available:
        raise ExportError(
            f"{published.path}: --engine={name} needs the format {name!r}; "
            f"the version has {published.formats}."
        )
    extras.require(f"--engine={name}", _PACKAGES[name])
    return name


def load(published: Published, name: str, threads: int | None) -> Engine:
    """Returns an engine with a version's model loaded.

    Args:
        published: the version.
        name: name of the engine, as returned by `choose`.
        threads: threads per computation; None for all processors.
    """
    engine = OnnxEngine if name == "onnx" else SavedModelEngine
    return engine(published, threads)


class OnnxEngine:
    """Runs ONNX on the CPU; the client's encoder converts raw values to ids.

    Args:
        published: the version.
        threads: threads per computation. Defaults to None, all processors.
    """

    name = "onnx"

    def __init__(self, published: Published, threads: int | None = None):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        self.signatures = {
            name: signature
            for name, signature in published.signatures().items()
            if name in naming.COLUMN_ENCODINGS
        }
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # clients get the errors
        # Spinning threads would take CPU time from those that read requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            os.path.join(published.path, "onnx", "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._refusal = states.InvalidArgument
        self._encoder = None
        if published.has_raw:
            self._encoder = Encoder.from_file(
                os.path.join(published.path, FEATURES)
            )

    def run(self, signature: str, columns: Columns) -> Columns:
        """Returns all outputs; see `Engine`."""
        context = self.signatures[signature].context
        if context:
            columns = _repeated(columns, context)
        if self._encoder is not None:
            columns = self._encoder.ids(columns)
        return self.run_ids(columns)

    def run_ids(self, columns: Columns) -> Columns:
        """Returns all outputs of columns of ids.

        Raises:
            Refused: if the model rejects the request.
        """
        try:
            values = self._session.run(self._outputs, columns)
        except self._refusal as error:
            row = self._refused_row(columns)
            raise Refused(f"row {row}: {_REFUSED}") from error
        return finite(dict(zip(self._outputs, values, strict=True)))

    def _refused_row(self, columns) -> int:
        """Returns the first rejected row, which onnxruntime does not name."""
        first, past = 0, len(next(iter(columns.values())))
        while past - first > 1:
            middle = (first + past) // 2
            half = {n: value[first:middle] for n, value in columns.items()}
            try:
                self._session.run(self._outputs, half)
                first = middle
            except self._refusal:
                past = middle
        return first

    def close(self):
        """Frees the model."""
        del self._session


class SavedModelEngine:
    """Runs the SavedModel in TensorFlow by the tensors of its signatures.

    Args:
        published: the version.
        threads: threads per computation. Defaults to None, all processors.
    """

    name = "saved_model"

    def __init__(self, published: Published, threads: int | None = None):
        import tensorflow as tf

        from export.formats.signature_session import SignatureSession

        self.signatures = published.signatures()
        self._session = SignatureSession(published.path, threads)
        self._refusal = tf.errors.OpError

    def run(self, signature: str, columns: Columns) -> Columns:
        """Returns all outputs; see `Engine`."""
        try:
            return finite(self._session.run(signature, columns))
        except UnicodeDecodeError as error:  # TensorFlow quotes the bytes
            raise Refused(
                "input 'inputs': must be serialized tf.Examples."
            ) from error
        except (self._refusal, ValueError) as error:
            raise Refused(_message(error)) from error

    def close(self):
        """Frees the model."""
        self._session.close()


def finite(outputs: Columns) -> Columns:
    """Returns the outputs if all numbers are finite.

    Raises:
        Refused: if not; the message names the first row with such scores.
    """
    for value in outputs.values():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise Refused(f"row {row}: {_REFUSED}")
    return outputs


def _message(error) -> str:
    """Returns the message of a failed assertion in the graph."""
    message = getattr(error, "message", None) or str(error)
    failed = re.search("assertion failed: (.*)", message)
    if failed is None:
        return message.removeprefix("Graph execution error:").strip()
    text = failed[1].strip("[]").replace("] [", " ")
    return text.replace("\\'", "'").replace(" :", ":").removesuffix("]")


def _repeated(columns: Columns, context: Sequence[str]) -> Columns:
    """Repeats the context's single row to the number of rows of the others."""
    rows = max(
        len(value) for name, value in columns.items() if name not in context
    )
    return {
        name: np.repeat(value, rows, axis=0)
        if name in context and len(value) == 1
        else value
        for name, value in columns.items()
    }
