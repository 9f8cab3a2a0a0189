"""Writes an ONNX graph and its tables, as one file or as two."""

import os

import numpy as np

from wukong_tf.embeddings import table_rows
from wukong_tf.errors import ExportError

# Protobuf's limit on a message, and the part of it reserved for graph nodes.
MAX_BYTES = 2**31 - 1
GRAPH_BYTES = 2**24
# Tables above this are in a file of their own: protobuf copies what it holds
# several times.
EMBEDDED_BYTES = 2**28
_ALIGNMENT = 4096  # of external arrays, so that they can be memory-mapped


def check_size(model):
    """Raises ExportError if the dense part exceeds one ONNX file.

    The message lists the bytes of the largest weights.
    """
    tables = {layer.table.path for layer in model.tables}
    sizes = {
        weight.path: 4 * int(np.prod(weight.shape, dtype=np.int64))
        for weight in model.weights
        if weight.path not in tables
    }
    total = sum(sizes.values())
    if total + GRAPH_BYTES <= MAX_BYTES:
        return
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:20]
    text = ", ".join(f"{name} {size:,}" for name, size in largest)
    raise ExportError(
        f"--format=onnx: an ONNX graph without its tables is limited to "
        f"{MAX_BYTES:,} bytes, of which {GRAPH_BYTES:,} are reserved for its "
        f"nodes; this model's dense weights take {total:,}. The largest: "
        f"{text}. Export with --format=saved_model."
    )


def save(proto, stored, path):
    """Writes the file, and large tables into a second one next to it.

    Args:
        proto: an onnx.ModelProto without the tables.
        stored: name of an array to the arguments of `table_array`.
        path: path of the file.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tables = sum(
        int(np.prod(layer.table.shape, dtype=np.int64)) * 4
        for _, layer, _ in stored.values()
    )
    size = proto.ByteSize() + tables + GRAPH_BYTES
    if tables <= EMBEDDED_BYTES and size <= MAX_BYTES:
        for name, entry in stored.items():
            proto.graph.initializer.append(
                numpy_helper.from_array(table_array(*entry), name)
            )
        onnx.save_model(proto, path)
        return
    data = f"{path}.data"
    with open(data, "wb") as file:
        for name, entry in stored.items():
            file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
            offset = file.tell()
            for chunk in _chunks(*entry):
                file.write(np.ascontiguousarray(chunk).data)
            tensor = TensorProto(
                name=name,
                dims=(entry[1].plan.rows, *chunk.shape[1:]),
                data_type=helper.np_dtype_to_tensor_dtype(chunk.dtype),
                data_location=TensorProto.EXTERNAL,
            )
            for key, value in (
                ("location", os.path.basename(data)),
                ("offset", offset),
                ("length", file.tell() - offset),
            ):
                tensor.external_data.add(key=key, value=str(value))
            proto.graph.initializer.append(tensor)
    onnx.save_model(proto, path)


def table_array(served, layer, part):
    """Returns a part of a table in its stored form."""
    if served.precision == "float32":
        return np.asarray(layer.table)
    return served.stored(layer)[part]


def _chunks(served, layer, part):
    """Yields a table's rows in its stored form, a few megabytes at a time."""
    rows, row_bytes = (0, layer.plan.rows), table_rows.row_bytes(layer.table)
    for start, stop in table_rows.chunks(rows, row_bytes):
        if served.precision == "float32":
            yield table_rows.read(layer.table, start, stop)
        else:
            yield served.stored(layer)[part][start:stop]
