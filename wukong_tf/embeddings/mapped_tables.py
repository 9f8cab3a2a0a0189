"""Tables in files that TensorFlow maps into memory, to be read only.

The operating system reads pages of a file when rows of them are looked up, and
drops them when memory is short, so a table may be larger than the memory.
"""

import contextlib
import ctypes
import mmap
import os
import warnings
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.ops import resource_variable_ops

from wukong_tf.embeddings.lookup import TakeLookup
from wukong_tf.errors import ConfigError

# TensorFlow evaluates constants when it traces a function, which would copy a
# mapped file into memory; at this level it does not.
GRAPH_OPTIONS = tf.compat.v1.GraphOptions(
    optimizer_options=tf.compat.v1.OptimizerOptions(
        opt_level=tf.compat.v1.OptimizerOptions.L0
    )
)


class MappedLookup(TakeLookup):
    """An engine whose tables are files: on CPUs, and not trainable.

    Once the model is built, `table_rows.write` writes the files, which are
    named `file` of the weights, and then `map` lets lookups read them.

    Args:
        folder: directory of the files, which must exist as long as the tables.
    """

    def __init__(self, folder: str):
        self._folder = os.path.abspath(folder)
        self._tables: list = []

    def build(self, layer, rows, width, features):
        """Creates a file of zeros, and a weight of `layer` without values."""
        del features
        path = os.path.join(self._folder, f"{layer.name}.rows")
        dtype = tf.as_dtype(layer.variable_dtype)
        try:
            with open(path, "xb") as file:
                file.truncate(rows * width * dtype.size)
        except FileExistsError as error:
            raise ConfigError(
                f"map_tables={self._folder!r}: holds {layer.name}.rows "
                "already; each model needs a directory of its own."
            ) from error
        with _without_value((rows, width)):
            table = layer.add_weight(
                name="table",
                shape=(rows, width),
                initializer="zeros",
                trainable=False,  # the memory is read-only
            )
        table.file = path
        self._tables.append(table)
        return table

    def map(self):
        """Maps the files into memory; they must not be written any more."""
        for table in self._tables:
            value = table.value
            map_file(value.handle, table.file, value.shape, value.dtype)
            read_single_pages(table.file)


def evaluate_no_constants():
    """Sets `GRAPH_OPTIONS` for this process, if TensorFlow is not yet used.

    Otherwise it warns that files are copied into memory when they are mapped.
    """
    state = context.context()
    if state._context_handle is None and state._config is None:
        state._config = tf.compat.v1.ConfigProto(graph_options=GRAPH_OPTIONS)
    options = state.config.graph_options.optimizer_options
    if options.opt_level != tf.compat.v1.OptimizerOptions.L0:
        warnings.warn(
            "TensorFlow was used before tables were mapped from files, so it "
            "copies them into memory. Load such a model first.",
            stacklevel=4,
        )


def map_file(handle, path: str, shape: tuple[int, ...], dtype=tf.float32):
    """Assigns a file's numbers to a variable, without reading them.

    Args:
        handle: the variable's resource.
        path: file of the numbers, row by row.
        shape: shape of the variable.
        dtype: dtype of the numbers. Defaults to float32.

    Returns:
        The operation, in a graph.
    """
    rows = tf.raw_ops.ImmutableConst(
        dtype=dtype, shape=shape, memory_region_name=os.path.abspath(path)
    )
    return tf.raw_ops.AssignVariableOp(resource=handle, value=rows)


def read_single_pages(path: str):
    """Makes the system read only the pages of a mapped file that are needed.

    By default it reads pages around them, which evicts others if memory is
    short. Without Linux's list of mappings, nothing is changed.
    """
    path = os.path.realpath(path)
    try:
        with open("/proc/self/maps", errors="surrogateescape") as file:
            lines = [line.split(maxsplit=5) for line in file]
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return
    for fields in lines:
        if len(fields) > 5 and fields[5].rstrip("\n") == path:
            first, past = (int(text, 16) for text in fields[0].split("-"))
            advise(
                ctypes.c_void_p(first),
                ctypes.c_size_t(past - first),
                mmap.MADV_RANDOM,
            )


@contextlib.contextmanager
def _without_value(shape: tuple[int, int]) -> Iterator[None]:
    """Makes variables of this shape that hold no numbers yet."""

    def creator(next_creator, **kwargs):
        del next_creator  # it would compute the initial value
        return resource_variable_ops.UninitializedVariable(
            trainable=False,
            name=kwargs["name"],
            dtype=kwargs["dtype"],
            shape=shape,
        )

    with tf.variable_creator_scope(creator):
        yield
