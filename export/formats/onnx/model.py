"""Writes the served functions as ONNX files, and loads them back."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from export.formats.artifact import (
    Artifact,
    Loaded,
    check_written,
    plain_specs,
)
from export.formats.onnx import files, handlers, int8, passes
from export.formats.onnx import graph as onnx_graph
from export.served import tables
from export.served.signatures import ServedModel
from wukong_tf.errors import ExportError
from wukong_tf.features import encode_served, guard, real_weights

NAME = "onnx"
DENSE_NAME = "onnx_dense"
FOLDER = "onnx"
FILES = {NAME: "model.onnx", DENSE_NAME: "dense.onnx"}
FILE = os.path.join(FOLDER, FILES[NAME])

# The highest that tf2onnx supports (OPSET_TO_IR_VERSION in its constants.py);
# onnxruntime 1.32 runs it, as the parity check verifies for each file.
OPSET = 18


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of an ONNX file.

    Args:
        opset: version of ONNX's operators.
        optimize: whether to make the graph smaller and faster.
        dense: precision of matrix products, "float32" or "int8".
        calibration: batches of ids to calibrate the ranges of activations
            with; needed by "int8". Defaults to (), none.
    """

    opset: int = OPSET
    optimize: bool = True
    dense: str = "float32"
    calibration: Sequence[Mapping[str, np.ndarray]] = ()


def write(
    served: ServedModel,
    folder: str,
    options: Options | None = None,
    name: str = NAME,
) -> tuple[int, int]:
    """Writes onnx/model.onnx, or onnx/dense.onnx, into `folder`.

    Args:
        served: the model.
        folder: the version's directory.
        options: Defaults to None, those of `Options`.
        name: "onnx", the whole model, which takes ids, or "onnx_dense", the
            dense part, which takes embeddings.

    Returns:
        The number of operators before and after optimization.

    Raises:
        ExportError: if the dense part is too large, or the file is not valid
            ONNX.
    """
    import onnx
    import tf2onnx

    options = options or Options()
    files.check_size(served.model)
    cut = _dense_cut if name == DENSE_NAME else _whole_cut
    function, specs, stored = cut(served, options)
    proto, _ = tf2onnx.convert.from_function(
        function,
        input_signature=specs,
        opset=options.opset,
        custom_op_handlers=handlers.handlers(options.optimize),
    )
    before = len(proto.graph.node)
    if options.optimize:
        passes.improve(proto.graph, options.opset)
    if options.dense == "int8":
        rows = _calibration(served, options, stored, name)
        proto = int8.quantize(proto, rows)
    _name(proto.graph, served, stored)
    metadata = served.origin | {"opset": str(options.opset)}
    onnx.helper.set_model_props(proto, metadata)
    path = os.path.join(folder, FOLDER, FILES[name])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    files.save(proto, stored, path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise ExportError(
            f"{path}: tf2onnx wrote an invalid ONNX graph: {error}."
        ) from error
    return before, len(proto.graph.node)


def _name(graph, served, stored):
    """Sets the names of a graph, its inputs and outputs, and the batch axis."""
    graph.name = graph.doc_string = served.model.name
    columns = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(columns)
    for value in (*graph.input, *graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.Clear()
        dimension.dim_param = "batch"
    names = {argument: name for name, argument in served.arguments.items()}
    onnx_graph.rename(graph, names)


def load(
    served: ServedModel,
    folder: str,
    name: str = NAME,
    tolerance: float | None = None,
) -> list[Artifact]:
    """Returns a file in `folder` as an artifact for parity.

    It is loaded at its first use, which raises ExportError if its inputs or
    outputs are not those of `served`.
    """
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    session = Loaded(lambda: _session(served, folder, name))
    outputs = list(served.outputs)

    def score(columns):
        values = session.get().run(outputs, columns)
        return dict(zip(outputs, values, strict=True))

    takes = "rows" if name == DENSE_NAME else "ids"
    refusal = states.InvalidArgument
    return [Artifact(name, score, refusal, takes, tolerance, session)]


def _session(served, folder, name):
    """Loads a file and checks its inputs and outputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # rejected requests are expected
    session = onnxruntime.InferenceSession(
        os.path.join(folder, FOLDER, FILES[name]),
        options,
        providers=["CPUExecutionProvider"],
    )
    dense = name == DENSE_NAME
    for kind, expected, written in (
        (
            "inputs",
            served.row_inputs if dense else served.id_inputs,
            session.get_inputs(),
        ),
        ("outputs", served.outputs, session.get_outputs()),
    ):
        check_written(name, kind, plain_specs(expected), _plain(written))
    return session


def versions() -> dict[str, str]:
    """Returns the versions of the packages that wrote and ran the format."""
    import onnx
    import onnxruntime
    import tf2onnx

    return {
        module.__name__: module.__version__
        for module in (onnx, onnxruntime, tf2onnx)
    }


def _whole_cut(served, options):
    """Returns the function of ids and tables, its signature, and the tables.

    Tables are inputs during conversion, as tf2onnx copies every constant
    many times.
    """
    spec = served.spec.as_ids()
    layers = {
        f"tables/{layer.plan.name}": layer for layer in served.model.tables
    }
    arguments: dict[str, dict] = {}
    stored: dict[str, tuple] = {}
    for name, layer in layers.items():
        specs = tables.specs(layer, served.precision)
        paths = {
            part: name if part == "rows" else f"{name}/{part}" for part in specs
        }
        arguments[name] = {
            part: tf.TensorSpec(tensor.shape, tensor.dtype, paths[part])
            for part, tensor in specs.items()
        }
        stored |= {path: (served, layer, part) for part, path in paths.items()}

    def serve(columns, arrays):
        readers = {
            layer: _reader(spec, layer, arrays[name], options.optimize)
            for name, layer in layers.items()
        }
        if options.optimize:  # the readers check the ids
            inputs = real_weights(spec, columns)
        else:
            inputs = encode_served(spec, columns)
        with tables.read_by(readers):
            logits = served.model(inputs, training=False)
        return _outputs(
            served, logits, lambda values: guard(spec, columns, values)
        )

    inputs = [served.traced(served.id_inputs), arguments]
    return tf.function(serve, autograph=False), inputs, stored


def _outputs(served, logits, guard):
    """Returns the outputs by their names in the graph."""
    outputs = served.named_outputs(logits, guard)
    return {served.arguments[name]: value for name, value in outputs.items()}


def _reader(spec, layer, arrays, optimize):
    if optimize or "scale" in arrays:
        features = {feature.name: feature for feature in spec.categorical}
        return tables.Reader(arrays, tables.range_check(layer, features))
    return _TakeReader(arrays["rows"])


class _TakeReader:
    """Reads rows of a table as Keras does."""

    def __init__(self, rows):
        self._rows = rows

    def __call__(self, table, ids):
        del table
        return keras.ops.cast(
            keras.ops.take(self._rows, ids, axis=0), "float32"
        )


def _dense_cut(served, options):
    """Returns the function of embeddings, its signature, and no tables."""
    del options
    spec = served.spec

    def serve(columns):
        rows = {
            feature.name: columns[feature.name][:, None]  # [B, 1, width]
            for feature in spec.categorical
        }
        x = served.model.feature_embedding.join(rows, columns, training=False)
        logits = served.model.score(x, training=False)
        embeddings = [columns[feature.name] for feature in spec.categorical]
        return _outputs(
            served,
            logits,
            lambda values: guard(spec, columns, values, embeddings),
        )

    inputs = [served.traced(served.row_inputs)]
    return tf.function(serve, autograph=False), inputs, {}


def _calibration(served, options, stored, name):
    """Yields batches of the graph's inputs, tables included, by graph name."""
    arrays = {path: files.table_array(*entry) for path, entry in stored.items()}
    for columns in options.calibration:
        if name == DENSE_NAME:
            columns = served.rows_from_ids(columns)
        inputs = {served.arguments[name]: v for name, v in columns.items()}
        yield inputs | arrays


def _plain(values):
    """Returns a session's inputs or outputs as name to (dtype, shape)."""
    dtypes = {"tensor(int64)": "int64", "tensor(float)": "float32"}
    return {
        value.name: (
            dtypes.get(value.type, value.type),
            tuple(None if size == "batch" else size for size in value.shape),
        )
        for value in values
    }
