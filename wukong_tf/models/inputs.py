"""A model's inputs: their signature and their validation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from wukong_tf.config.columns import Column
from wukong_tf.errors import DataError
from wukong_tf.names import alike, arguments


def signature(columns: Sequence[Column]) -> dict[str, keras.KerasTensor]:
    """Returns the shape and dtype of each input, by name.

    Ids are int64, or int32 on JAX, which has no int64 by default; the rest is
    float32. Single values have the shape [B]. Tensors are named as arguments of
    functions can be.
    """
    names = arguments(column.name for column in columns)
    ids = "int32" if keras.backend.backend() == "jax" else "int64"
    return {
        column.name: keras.KerasTensor(
            (None, *column.shape),
            "float32" if column.floats else ids,
            name=names[column.name],
        )
        for column in columns
    }


def checked(columns: Sequence[Column], inputs: Any) -> dict[str, Any]:
    """Validates a model's inputs and returns those that it reads.

    Values are checked only if they are known: in arrays and eager tensors, not
    inside a function that is being compiled.

    Args:
        columns: the model's columns.
        inputs: inputs that the model is called with.

    Raises:
        DataError: names the feature, the rule and the received value.
    """
    if not isinstance(inputs, Mapping):
        raise DataError(
            "a model's inputs must be a dict of feature name to array; "
            f"received {type(inputs).__name__}."
        )
    for column in columns:  # first, raw values given instead of ids
        if column.name in inputs:
            _check_type(column, inputs[column.name])
    checked_inputs: dict[str, Any] = {}
    rows: dict[int, str] = {}
    for column in columns:
        where = f"feature {column.name!r}"
        if column.name not in inputs:
            raise DataError(
                f"{where} is missing from the inputs; received "
                f"{sorted(map(str, inputs))}{alike(column.name, inputs)}."
            )
        value = checked_inputs[column.name] = inputs[column.name]
        count = _check_shape(where, column, value)
        if type(count) is int:  # some backends trace it as a symbol
            rows.setdefault(count, column.name)
        if len(rows) > 1:
            other, name = next(iter(rows.items()))
            raise DataError(
                f"{where} must have as many rows as {name!r}, {other}; "
                f"received {count}."
            )
        if column.num_ids is not None:
            _check_range(where, column.num_ids, value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            # JAX would truncate 64-bit integers to 32 bits.
            checked_inputs[column.name] = value.astype(np.float64)
    return checked_inputs


def _check_type(column, value):
    where = f"feature {column.name!r}"
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise DataError(
            f"{where} must be an array or a tensor; received "
            f"{type(value).__name__}. `model.predict_rows(rows)` scores raw "
            "rows."
        )
    name = str(value.dtype).removeprefix("torch.")
    if isinstance(value.dtype, np.dtype) or hasattr(value.dtype, "name"):
        name = value.dtype.name
    if name.startswith(("str", "bytes", "object")):
        raise DataError(
            f"{where} must hold integer ids or numbers; received {name}. "
            "`model.predict_rows(rows)` scores raw rows."
        )
    integer = name.startswith(("int", "uint"))
    if column.floats:
        if not (integer or name.startswith(("float", "bfloat"))):
            raise DataError(f"{where} must hold numbers; received {name}.")
    elif not integer:
        raise DataError(f"{where} must hold integer ids; received {name}.")


def _check_shape(where, column, value):
    """Returns the number of rows, or None if it is unknown."""
    if getattr(value.shape, "rank", 0) is None:
        return None
    shape = tuple(value.shape)
    if column.shape:
        fits = len(shape) == 2 and shape[1] in (*column.shape, None)
    else:
        fits = len(shape) == 1 or (len(shape) == 2 and shape[1] in (1, None))
    if not fits:
        size = f"[B, {column.shape[0]}]" if column.shape else "[B] or [B, 1]"
        raise DataError(
            f"{where} must be of shape {size}; received {list(shape)}."
        )
    return shape[0]


def _check_range(where, num_ids, value):
    values = _known(value)
    if values is None or not values.size:
        return
    # As unsigned numbers, negative ids are large: one pass for both ends.
    unsigned = np.dtype(f"u{values.dtype.itemsize}").newbyteorder(
        values.dtype.byteorder
    )
    if values.view(unsigned).max() < num_ids:
        return
    place = np.argwhere((values < 0) | (values >= num_ids))[0]
    raise DataError(
        f"{where}: ids must be in [0, {num_ids}); received "
        f"{values[tuple(place)]} in row {place[0]}."
    )


def checked_data(columns: Sequence[Column], x: Any) -> Any:
    """Returns the data for Keras to read, with every batch validated.

    Arrays are checked at once; batches of a tf.data.Dataset, of a PyDataset and
    of a generator as they are read. Other data that Keras takes, such as
    PyTorch's DataLoader, are returned unchanged.

    Args:
        columns: the model's columns.
        x: data for Keras's `fit`, `evaluate` or `predict`.
    """
    if x is None or isinstance(x, Mapping | np.ndarray | list):
        return x if x is None else checked(columns, x)
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedDataset(columns, x)
    if hasattr(x, "element_spec") and hasattr(x, "map"):
        return x.map(lambda *batch: _asserted(columns, batch))
    if isinstance(x, Iterator):
        return (_checked_batch(columns, batch) for batch in x)
    return x


class _CheckedDataset(keras.utils.PyDataset):
    """Validates the batches of another dataset."""

    def __init__(self, columns, data):
        super().__init__(
            data.workers, data.use_multiprocessing, data.max_queue_size
        )
        self._columns = columns
        self._data = data

    @property
    def num_batches(self):
        return self._data.num_batches

    def __getitem__(self, index):
        return _checked_batch(self._columns, self._data[index])

    def on_epoch_begin(self):
        self._data.on_epoch_begin()

    def on_epoch_end(self):
        self._data.on_epoch_end()


def _checked_batch(columns, batch):
    """Validates a batch of inputs, or of inputs, labels and weights."""
    if isinstance(batch, tuple | list):
        return (checked(columns, batch[0]), *batch[1:])
    return checked(columns, batch)


def _asserted(columns, batch):
    """Validates a batch like `_checked_batch`, its ids by graph assertions."""
    from wukong_tf.features import assertions

    inputs = assertions.in_range(columns, checked(columns, batch[0]))
    return (inputs, *batch[1:]) if len(batch) > 1 else inputs


def _known(value):
    """Returns the values as an array, or None while they are traced."""
    if isinstance(value, np.ndarray):
        return value
    try:
        return keras.ops.convert_to_numpy(value)
    except (TypeError, NotImplementedError, RuntimeError, ValueError):
        return None
