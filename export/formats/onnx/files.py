"""Writes an ONNX graph and its tables, as one file or as two."""

import os

import numpy as np

# Protobuf's limit on a message, and the part of it reserved for graph nodes.
MAX_BYTES = 2**31 - 1
GRAPH_BYTES = 2**24
_ALIGNMENT = 4096  # of external arrays, so that they can be memory-mapped
_CHUNK_BYTES = 1 << 26


def save(proto, kept, path):
    """Writes the file, and large tables into a second one next to it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    sizes = {
        name: int(np.prod(layer.table.shape, dtype=np.int64)) * 4
        for name, (_, layer, _) in kept.items()
    }
    beside = proto.ByteSize() + sum(sizes.values()) + GRAPH_BYTES > MAX_BYTES
    if not beside:
        for name, place in kept.items():
            proto.graph.initializer.append(
                numpy_helper.from_array(part_of_table(*place), name)
            )
        onnx.save_model(proto, path)
        return
    data = f"{path}.data"
    with open(data, "wb") as file:
        for name, place in kept.items():
            array = part_of_table(*place)
            file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
            tensor = TensorProto(
                name=name,
                dims=array.shape,
                data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                data_location=TensorProto.EXTERNAL,
            )
            for key, value in (
                ("location", os.path.basename(data)),
                ("offset", file.tell()),
                ("length", array.nbytes),
            ):
                tensor.external_data.add(key=key, value=str(value))
            _write_array(file, array)
            proto.graph.initializer.append(tensor)
    onnx.save_model(proto, path)


def part_of_table(served, layer, part):
    """Returns a part of a table in its stored form."""
    if served.precision == "float32":
        return np.asarray(layer.table)
    return served.stored(layer)[part]


def _write_array(file, array):
    rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), rows):
        file.write(np.ascontiguousarray(array[first : first + rows]).data)
