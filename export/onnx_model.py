"""Writes the served function as one ONNX file, and loads it back."""

import os

import keras
import numpy as np
import tensorflow as tf

from export import signatures
from export.parity import Artifact
from wukong_tf.errors import ExportError
from wukong_tf.weights import model_slots

NAME = "onnx"
FILE = os.path.join("onnx", "model.onnx")

# The highest that tf2onnx knows (OPSET_TO_IR_VERSION of its constants.py);
# onnxruntime 1.32 runs it, as the parity check proves for each file.
OPSET = 18

# Protobuf's limit on one message, and room for all but the weights in it.
MAX_BYTES = 2**31 - 1
GRAPH_BYTES = 2**24


def write(served: signatures.ServedModel, folder: str):
    """Writes onnx/model.onnx into `folder`.

    Raises:
        ExportError: a package is missing, the file would be too large, or
            it is not valid ONNX.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import tf2onnx
    except ImportError as error:
        raise ExportError(
            "--format=onnx needs the packages onnx, onnxruntime and tf2onnx: "
            f"{error}."
        ) from error
    check_size(served.model)

    proto, _ = tf2onnx.convert.from_function(
        _with_tables_as_inputs(served),
        input_signature=[served.id_inputs, _table_specs(served.model)],
        opset=OPSET,
        custom_op_handlers={"Log1p": (_log1p, [])},
    )
    graph = proto.graph
    graph.name = graph.doc_string = served.model.name
    _attach_tables(graph, served.model)
    _name_batch([*graph.input, *graph.output])
    path = os.path.join(folder, FILE)
    os.makedirs(os.path.dirname(path))
    onnx.save_model(proto, path)
    try:
        onnx.checker.check_model(path, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        raise ExportError(
            f"the ONNX graph that tf2onnx made is not valid: {error}."
        ) from error


def load(served: signatures.ServedModel, folder: str) -> Artifact:
    """The ONNX file in `folder`, as parity calls it.

    Raises:
        ExportError: its inputs or outputs are not those of `served`.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # refused requests are expected, not news
    session = onnxruntime.InferenceSession(
        os.path.join(folder, FILE),
        options,
        providers=["CPUExecutionProvider"],
    )
    for kind, expected, found in (
        ("inputs", served.id_inputs, session.get_inputs()),
        ("outputs", served.outputs, session.get_outputs()),
    ):
        signatures.check_written(
            NAME, kind, signatures.plain_specs(expected), _plain(found)
        )
    names = [output.name for output in session.get_outputs()]

    def score(columns):
        values = session.run(names, columns)
        return dict(zip(names, values, strict=True))

    return Artifact(NAME, score, states.InvalidArgument, takes_ids=True)


def check_size(model):
    """Refuses a model whose weights do not fit into one ONNX file.

    Raises:
        ExportError: with the bytes of each table.
    """
    size = sum(_bytes(weight.shape) for weight in model.weights)
    if size + GRAPH_BYTES <= MAX_BYTES:
        return
    tables = {
        slot.name: _bytes(slot.shape)
        for slot in model_slots(model)
        if slot.rows is not None
    }
    largest = sorted(tables.items(), key=lambda item: -item[1])
    text = ", ".join(f"{name} {bytes_:,}" for name, bytes_ in largest[:20])
    rest = f" and {len(largest) - 20} smaller" if len(largest) > 20 else ""
    raise ExportError(
        f"--format=onnx: one ONNX file holds at most {MAX_BYTES:,} bytes, of "
        f"which {GRAPH_BYTES:,} are kept for the graph; this model's weights "
        f"take {size:,}. Bytes of the tables: {text}{rest}. Export it with "
        "--format=saved_model."
    )


def versions() -> dict[str, str]:
    """Versions of the packages that wrote and proved the format."""
    import onnx
    import onnxruntime
    import tf2onnx

    return {
        module.__name__: module.__version__
        for module in (onnx, onnxruntime, tf2onnx)
    }


def _with_tables_as_inputs(served):
    """The served function of the columns, with ids, and the tables.

    The converter copies every constant many times over: it gets a graph
    that has no table in it.
    """

    def serve(columns, tables):
        scope = keras.StatelessScope(
            [
                (layer.table, tables[name])
                for name, layer in _tables(served.model).items()
            ]
        )
        with scope:
            return served.scores_of_ids(columns)

    return tf.function(serve)


def _tables(model):
    """The layers that own tables, by a name that no feature can have."""
    return {f"tables/{layer.plan.name}": layer for layer in model.tables}


def _table_specs(model):
    return {
        name: tf.TensorSpec(layer.table.shape, tf.float32, name)
        for name, layer in _tables(model).items()
    }


def _attach_tables(graph, model):
    """Turns the inputs that stand for tables into the tables."""
    from onnx import numpy_helper

    tables = _tables(model)
    columns = [value for value in graph.input if value.name not in tables]
    del graph.input[:]
    graph.input.extend(columns)
    for name, layer in tables.items():
        graph.initializer.append(
            numpy_helper.from_array(np.asarray(layer.table), name)
        )


def _bytes(shape):
    return 4 * int(np.prod(shape, dtype=np.int64))  # every weight is float32


def _name_batch(values):
    """Calls the first dimension of each value "batch"."""
    for value in values:
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.Clear()
        dimension.dim_param = "batch"


def _plain(values):
    """A session's inputs or outputs as name to (dtype, shape)."""
    dtypes = {"tensor(int64)": "int64", "tensor(float)": "float32"}
    return {
        value.name: (
            dtypes.get(value.type, value.type),
            tuple(None if size == "batch" else size for size in value.shape),
        )
        for value in values
    }


def _log1p(graph, node, name, args):
    """log(1 + x), which ONNX lacks, without its loss for small x.

    With u the float next to 1 + x, log(u) x / (u - 1) makes up for the
    rounding of u; where u is 1, log1p(x) is x.
    """
    del name, args
    (x,) = node.input
    (result,) = node.output
    dtype = graph.get_dtype(result)
    shape = graph.get_shape(result)
    one = graph.make_const(f"{node.name}_one", np.array(1, np.float32)).output[
        0
    ]

    def op(kind, *inputs):
        return graph.make_node(kind, list(inputs)).output[0]

    graph.remove_node(node.name)
    u = op("Add", x, one)
    ratio = op("Div", x, op("Sub", u, one))
    far = op("Mul", op("Log", u), ratio)
    graph.make_node(
        "Where",
        [op("Equal", u, one), x, far],
        outputs=[result],
        shapes=[shape],
        dtypes=[dtype],
    )
