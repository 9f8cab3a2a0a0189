"""Reads and writes runs of a table's rows, without a copy of the table.

A table may fill most of a machine's memory. On TensorFlow, reading or assigning
such a variable as a whole copies it; here rows are copied a few megabytes at a
time.
"""

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

CHUNK_BYTES = 2**24  # of rows that are in memory at a time


def chunks(rows: tuple[int, int], row_bytes: int) -> Iterator[tuple[int, int]]:
    """Yields (first, past the last) of runs of about `CHUNK_BYTES`."""
    step = max(1, CHUNK_BYTES // max(1, row_bytes))
    for start in range(rows[0], rows[1], step):
        yield start, min(start + step, rows[1])


def row_bytes(variable) -> int:
    """Returns the bytes of one row of a Keras variable."""
    width = int(np.prod(variable.shape[1:], dtype=np.int64))
    return width * np.dtype(str(variable.dtype)).itemsize


def read(variable, start: int, stop: int) -> np.ndarray:
    """Reads rows `start` to `stop` - 1 of a Keras variable.

    Of a sharded one, the rows of other workers are read as zeros.
    """
    if shards := getattr(variable, "shards", None):
        shape = (stop - start, *variable.shape[1:])
        rows = np.zeros(shape, str(variable.dtype))
        rows[shards.owned(start, stop) - start] = read_owned(
            variable, start, stop
        )
        return rows
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # A sparse read: a dense one may copy the whole variable first.
        return tf.gather(variable.value, tf.range(start, stop)).numpy()
    return keras.ops.convert_to_numpy(variable.value[start:stop])


def read_owned(variable, start: int, stop: int) -> np.ndarray:
    """Reads this worker's rows among `start` to `stop` - 1 of a sharded one."""
    import tensorflow as tf

    rows = tf.range(variable.shards.before(start), variable.shards.before(stop))
    return tf.gather(variable.value, rows).numpy()


@contextlib.contextmanager
def unmirrored() -> Iterator[None]:
    """Makes variables of TensorFlow that no strategy mirrors or broadcasts."""
    import tensorflow as tf
    from tensorflow.python.ops import resource_variable_ops

    def creator(next_creator, **kwargs):
        del next_creator  # the strategy's
        return resource_variable_ops.ResourceVariable(
            **{
                key: kwargs[key]
                for key in ("initial_value", "trainable", "name", "dtype")
            }
        )

    (device,) = tf.distribute.get_strategy().extended.worker_devices
    with tf.variable_creator_scope(creator), tf.device(device):
        yield


def local(value):
    """Returns the current replica's copy of a TensorFlow variable.

    A lookup in a variable that tf.distribute mirrors would read, and copy, all
    of it; a lookup in one of its copies reads only rows.
    """
    get = getattr(value, "_get", None)  # only of mirrored variables
    return value if get is None else get()


def write(
    variable,
    rows: tuple[int, int],
    values: Callable[[int, int], np.ndarray],
):
    """Sets a run of a Keras variable's rows.

    Args:
        variable: of shape [N, ...].
        rows: (first, past the last) of the run. Of a sharded variable, only
            this worker's rows of it are set.
        values: called with the first number and the one past the last of some
            rows, counted from the run's first; returns these rows.
    """
    first = rows[0]
    if path := getattr(variable, "file", None):  # of a mapped table
        _write_file(path, variable, rows, values)
        return
    backend = keras.backend.backend()
    if backend == "jax":  # Its arrays are immutable: a new one is made.
        parts = [
            values(start - first, stop - first)
            for start, stop in chunks(rows, row_bytes(variable))
        ]
        if parts:
            whole = np.array(variable.value)
            whole[rows[0] : rows[1]] = np.concatenate(parts)
            variable.assign(whole)
        return
    for start, stop in chunks(rows, row_bytes(variable)):
        part = values(start - first, stop - first)
        if shards := getattr(variable, "shards", None):
            part = part[shards.owned(start, stop) - start]
            start, stop = shards.before(start), shards.before(stop)
        if backend == "tensorflow":
            _scatter(variable.value, start, stop, part)
        else:
            device = variable.value.device
            part = keras.ops.convert_to_tensor(part, variable.dtype)
            variable.value.data[start:stop] = part.to(device)


def _write_file(path, variable, rows, values):
    size, first = row_bytes(variable), rows[0]
    with open(path, "r+b") as file:
        file.seek(first * size)
        for start, stop in chunks(rows, size):
            part = values(start - first, stop - first)
            file.write(part.astype(str(variable.dtype), copy=False).tobytes())


def _scatter(value, start, stop, part):
    import tensorflow as tf

    rows = tf.range(start, stop)
    for copy in getattr(value, "values", (value,)):  # one for each replica
        copy.scatter_update(tf.IndexedSlices(tf.cast(part, copy.dtype), rows))


def uniform(
    seed: int, name: str, width: int, scale: float
) -> Callable[[int, int], np.ndarray]:
    """Returns a function that draws rows uniformly from [-scale, scale].

    The values depend only on the row, not on the backend, the rows that are
    drawn with it or the table that shares the variable.

    Args:
        seed: seed of the run.
        name: name of the table, so that no two tables have the same rows.
        width: floats in a row.
        scale: half of the interval's length.

    Returns:
        A function for `write`.
    """
    words = [seed, *name.encode()]

    def values(start, stop):
        generator = np.random.PCG64(np.random.SeedSequence(words))
        # Two float32 are drawn from each 64 bits, so a row of odd width is
        # drawn with one more.
        drawn = width + width % 2
        generator.advance(start * drawn // 2)
        rows = np.random.Generator(generator).random(
            (stop - start, drawn), np.float32
        )
        rows -= np.float32(0.5)
        rows *= np.float32(2 * scale)
        return rows[:, :width]

    return values
