"""Runs a SavedModel's signatures as TensorFlow Serving's classic path does.

Serving feeds and fetches the tensors that a signature names, through a
session whose initializer has run. This module does the same in Python,
without the server.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

TAG = "serve"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel.

    Args:
        inputs: name to (tensor name, dtype name, shape with None for unknown
            dimensions).
        outputs: the same for outputs.
        defaults: values of the optional inputs.
        method: method name.
    """

    inputs: dict[str, tuple[str, str, tuple]]
    outputs: dict[str, tuple[str, str, tuple]]
    defaults: dict[str, np.ndarray]
    method: str


class RequestError(ValueError):
    """A request that does not fit its signature."""


class SignatureSession:
    """Runs the signatures of a SavedModel.

    Args:
        folder: directory of saved_model.pb.
        threads: number of intra-op, and of inter-op, threads. Defaults to
            None, TensorFlow's choice.
    """

    graph_options: tf.compat.v1.GraphOptions | None = None

    def __init__(self, folder: str, threads: int | None = None):
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads or 0,
            inter_op_parallelism_threads=threads or 0,
            graph_options=self.graph_options,
        )
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        with self._session.graph.as_default():
            meta = self._load(folder)
        self.signatures = _signatures(meta)
        self._calls: dict = {}

    def _load(self, folder):
        """Loads graph and variables into the session; returns the graph."""
        return tf.compat.v1.saved_model.load(self._session, [TAG], folder)

    def run(
        self,
        name: str,
        columns: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature on `columns`; returns its outputs.

        Args:
            name: name of the signature.
            columns: its inputs; those with a default may be missing.
            outputs: names of outputs to fetch. Defaults to None, all.

        Raises:
            RequestError: if names are missing or unknown.
            tf.errors.OpError: if the graph rejects the request.
        """
        if name not in self.signatures:
            raise RequestError(
                f"the signature must be one of {sorted(self.signatures)}; "
                f"received {name!r}."
            )
        signature = self.signatures[name]
        columns = {**signature.defaults, **columns}
        if columns.keys() != signature.inputs.keys():
            unknown = sorted(columns.keys() - signature.inputs.keys())
            missing = sorted(signature.inputs.keys() - columns.keys())
            raise RequestError(
                f"signature {name!r}: inputs missing: {missing}; unknown: "
                f"{unknown}."
            )
        fetched = tuple(outputs or signature.outputs)
        call = self._call(name, fetched)
        values = call(*(columns[name] for name in signature.inputs))
        return dict(zip(fetched, values, strict=True))

    def _call(self, name, fetched):
        """Returns a cached callable; building one costs more than a batch."""
        key = (name, fetched)
        if key not in self._calls:
            signature = self.signatures[name]
            graph = self._session.graph
            self._calls[key] = self._session.make_callable(
                [
                    graph.get_tensor_by_name(signature.outputs[output][0])
                    for output in fetched
                ],
                feed_list=[
                    graph.get_tensor_by_name(tensor)
                    for tensor, _, _ in signature.inputs.values()
                ],
            )
        return self._calls[key]

    def close(self):
        """Closes the session and frees the model."""
        self._session.close()


def read_signatures(folder: str) -> dict[str, Signature]:
    """Returns the signatures of a SavedModel, by name; loads no weights."""
    with open(os.path.join(folder, "saved_model.pb"), "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    (meta,) = proto.meta_graphs
    return _signatures(meta)


def _signatures(meta):
    return {
        name: _signature(proto)
        for name, proto in meta.signature_def.items()
        if proto.method_name
    }


def _signature(proto):
    return Signature(
        _infos(proto.inputs),
        _infos(proto.outputs),
        {
            name: tf.make_ndarray(value)
            for name, value in proto.defaults.items()
        },
        proto.method_name,
    )


def _infos(infos):
    return {
        name: (
            info.name,
            tf.dtypes.as_dtype(info.dtype).name,
            tuple(
                None if dim.size < 0 else dim.size
                for dim in info.tensor_shape.dim
            ),
        )
        for name, info in sorted(infos.items())
    }
