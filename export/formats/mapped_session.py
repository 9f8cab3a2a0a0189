"""Loads a SavedModel whose tables are mapped files, into bounded memory."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl

from export.formats import tensor_bundle
from export.formats.signature_session import TAG, SignatureSession
from wukong_tf.embeddings.mapped_tables import (
    GRAPH_OPTIONS,
    map_file,
    read_single_pages,
)
from wukong_tf.embeddings.table_rows import CHUNK_BYTES
from wukong_tf.errors import ExportError


class MappedSession(SignatureSession):
    """Runs the signatures of a SavedModel with mapped tables.

    Args:
        folder: directory of saved_model.pb.
        tables: as in `MappedLoader`.
    """

    graph_options = GRAPH_OPTIONS

    def __init__(self, folder: str, tables: Mapping[str, str]):
        self._tables = tables
        super().__init__(folder)

    def _load(self, folder):
        return MappedLoader(folder, self._tables).load(self._session, [TAG])


class MappedLoader(loader_impl.SavedModelLoader):
    """TensorFlow's loader, but for tables.

    Those in the SavedModel are compared with files, byte by byte, and the files
    are mapped in their place.

    Args:
        folder: directory of saved_model.pb.
        tables: file of each table, by its name in the SavedModel's checkpoint.
    """

    def __init__(self, folder: str, tables: Mapping[str, str]):
        super().__init__(folder)
        self._tables = tables

    def restore_variables(self, sess, saver, import_scope=None):
        """Sets all variables of the session.

        Raises:
            ExportError: a table in the SavedModel is not that of the file.
        """
        prefix = os.fsdecode(self.variables_path)
        places = tensor_bundle.find(prefix, list(self._tables))
        for name, path in self._tables.items():
            _compare(places[name], path)
        operation = saver.saver_def.restore_op_name
        if import_scope:
            operation = f"{import_scope}/{operation}"
        call = sess.graph.get_operation_by_name(operation)
        names = self._restored(call.get_attr("f").name)
        handles = list(call.inputs)[1:]  # the first is the prefix
        operations = []
        with sess.graph.as_default():
            for name, handle in zip(names, handles, strict=True):
                dims = handle.op.get_attr("shape").dim
                shape = tuple(dim.size for dim in dims)
                dtype = tf.as_dtype(handle.op.get_attr("dtype"))
                if name in self._tables:
                    path = self._tables[name]
                    operations.append(map_file(handle, path, shape, dtype))
                    continue
                (value,) = tf.raw_ops.RestoreV2(
                    prefix=prefix,
                    tensor_names=[name],
                    shape_and_slices=[""],
                    dtypes=[dtype],
                )
                value = tf.ensure_shape(value, shape)
                operations.append(
                    tf.raw_ops.AssignVariableOp(resource=handle, value=value)
                )
        sess.run(operations)
        for path in self._tables.values():
            read_single_pages(path)

    def _restored(self, name: str) -> list[str]:
        """Returns the names of what a function restores, by its arguments."""
        (graph,) = self.saved_model.meta_graphs
        (function,) = (
            each
            for each in graph.graph_def.library.function
            if each.signature.name == name
        )
        nodes = {node.name: node for node in function.node_def}
        (restore,) = (n for n in nodes.values() if n.op == "RestoreV2")
        texts = nodes[restore.input[1].split(":")[0]].attr["value"].tensor
        names = [text.decode() for text in tf.make_ndarray(texts).tolist()]
        arguments = [arg.name for arg in function.signature.input_arg]
        found = {}
        for node in nodes.values():
            if node.op == "AssignVariableOp":
                source = nodes[node.input[1].split(":")[0]].input[0]
                found[node.input[0]] = names[int(source.split(":")[-1])]
        return [found[argument] for argument in arguments[1:]]


def _compare(place, path):
    """Raises ExportError unless the bytes at a place are those of a file."""
    data, offset, size = place
    same = size == os.path.getsize(path)
    for start in range(0, size if same else 0, CHUNK_BYTES):
        count = min(CHUNK_BYTES, size - start)
        written = np.fromfile(data, np.uint8, count, offset=offset + start)
        expected = np.fromfile(path, np.uint8, count, offset=start)
        same &= np.array_equal(written, expected)
    if not same:
        raise ExportError(
            f"nothing is published, as {os.path.basename(data)} does not hold "
            f"the checkpoint's rows of {os.path.basename(path)}."
        )
