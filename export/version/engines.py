"""What computes a version's scores: onnxruntime or TensorFlow."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from export.client.encode import Encoder
from export.version.published import (
    CANDIDATES,
    FEATURES,
    PREDICT,
    Published,
    SignatureSpec,
)
from wukong_tf import extras
from wukong_tf.errors import ExportError

Columns = dict[str, np.ndarray]
NAMES = ("onnx", "saved_model")
_PACKAGES = {"onnx": "onnxruntime", "saved_model": "tensorflow"}
_REFUSED = (
    "must hold ids of the tables, and numbers whose scores are finite; "
    "received others."
)
log = logging.getLogger("wukong.serve")


class Refused(ValueError):
    """A request that the model refuses; the message says why."""


class Engine(Protocol):
    """Runs the signatures of one version; from several threads at once."""

    name: str
    forms: dict[str, SignatureSpec]

    def run(self, signature: str, columns: Columns) -> Columns:
        """All outputs.

        Raises:
            Refused: the model refuses the request.
        """
        ...

    def close(self):
        """Frees the model."""
        ...


def choose(published: Published, name: str = "auto") -> str:
    """The engine for a version.

    Args:
        published: the version.
        name: "onnx", "saved_model" or "auto": ONNX where it is there and
            requests hold ids, as it is faster; the SavedModel where raw
            values have to become ids, which its graph does; the other one
            where a package is missing.

    Raises:
        ExportError: the version lacks what was asked for.
        ConfigError: a package is missing that computes it.
    """
    there = [each for each in NAMES if each in published.formats]
    if name == "auto":
        if published.has_raw:
            there.reverse()
        if not there:
            raise ExportError(
                f"{published.path}: holds neither of {list(NAMES)}; it holds "
                f"{published.formats}."
            )
        name = there[0]
        if len(there) > 1 and (reason := extras.lack(_PACKAGES[name])):
            log.warning("--engine=%s: %s", name, reason)
            name = there[1]
    if name not in there:
        raise ExportError(
            f"{published.path}: holds {published.formats}, and no {name!r}, "
            "which --engine asks for."
        )
    extras.require(f"--engine={name}", _PACKAGES[name])
    return name


def load(published: Published, name: str, threads: int | None) -> Engine:
    """An engine that has a version's model.

    Args:
        published: the version.
        name: as `choose` gives it.
        threads: of one computation; None for all processors.
    """
    kinds: dict[str, Callable[..., Engine]] = {
        "onnx": OnnxEngine,
        "saved_model": SavedModelEngine,
    }
    return kinds[name](published, threads)


class OnnxEngine:
    """onnxruntime on the CPU; raw values become ids by the client's encoder.

    Args:
        published: the version.
        threads: of one computation; None for all processors.
    """

    name = "onnx"

    def __init__(self, published: Published, threads: int | None = None):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        forms = published.forms()
        self.forms = {
            name: forms[name] for name in (PREDICT, CANDIDATES) if name in forms
        }
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # refusals are told to who asked
        # Threads that spin while they wait take the time of those that read
        # requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            os.path.join(published.path, "onnx", "model.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._refusal = states.InvalidArgument
        self._encoder = None
        if published.has_raw:
            self._encoder = Encoder.from_file(
                os.path.join(published.path, FEATURES)
            )

    def run(self, signature: str, columns: Columns) -> Columns:
        """All outputs; see `Engine`."""
        context = self.forms[signature].context
        if context:
            columns = _repeated(columns, context)
        if self._encoder is not None:
            columns = self._encoder.ids(columns)
        return self.run_ids(columns)

    def run_ids(self, columns: Columns) -> Columns:
        """All outputs of columns whose raw values are ids already.

        Raises:
            Refused: the model refuses the request.
        """
        try:
            values = self._session.run(self._outputs, columns)
        except self._refusal as error:
            row = self._refused_row(columns)
            raise Refused(f"row {row}: {_REFUSED}") from error
        return finite(dict(zip(self._outputs, values, strict=True)))

    def _refused_row(self, columns) -> int:
        """The first row that is refused; onnxruntime does not name it."""
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
    """The SavedModel in TensorFlow, by the tensors that signatures name.

    Args:
        published: the version.
        threads: of one computation; None for all processors.
    """

    name = "saved_model"

    def __init__(self, published: Published, threads: int | None = None):
        import tensorflow as tf

        from export.formats.signature_session import SignatureSession

        self.forms = published.forms()
        self._session = SignatureSession(published.path, threads)
        self._refusal = tf.errors.OpError

    def run(self, signature: str, columns: Columns) -> Columns:
        """All outputs; see `Engine`."""
        try:
            return finite(self._session.run(signature, columns))
        except UnicodeDecodeError as error:  # TensorFlow quotes the bytes
            raise Refused(
                "input 'inputs': must be serialized tf.Examples."
            ) from error
        except (self._refusal, ValueError) as error:
            raise Refused(_said(error)) from error

    def close(self):
        """Frees the model."""
        self._session.close()


def finite(outputs: Columns) -> Columns:
    """Returns the outputs, all numbers of which are finite.

    Raises:
        Refused: naming the first row whose scores are not.
    """
    for value in outputs.values():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            row = int(np.argwhere(~np.isfinite(value))[0][0])
            raise Refused(f"row {row}: {_REFUSED}")
    return outputs


def _said(error) -> str:
    """What a graph says of a request that it refuses."""
    message = getattr(error, "message", None) or str(error)
    found = re.search("assertion failed: (.*)", message)
    if found is None:
        return message.removeprefix("Graph execution error:").strip()
    text = found[1].strip("[]").replace("] [", " ")
    return text.replace("\\'", "'").replace(" :", ":").removesuffix("]")


def _repeated(columns: Columns, context: Sequence[str]) -> Columns:
    """The context's one row as often as the others have rows."""
    rows = max(
        len(value) for name, value in columns.items() if name not in context
    )
    return {
        name: np.repeat(value, rows, axis=0)
        if name in context and len(value) == 1
        else value
        for name, value in columns.items()
    }
