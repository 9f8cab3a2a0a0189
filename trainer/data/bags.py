"""Columns of lists, one list a row, as rectangles that NumPy can hold."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.source import Batch
from wukong_tf.config import FeatureSpec

PADDING_ID = 0

Refuse = Callable[[int, object], None]


def padded(
    array: pa.Array, size: int, padding: float, refuse: Refuse
) -> tuple[np.ndarray, np.ndarray]:
    """Lists of up to `size` numbers as [N, size], and where they end.

    Args:
        array: a list array; a null is an empty list.
        size: most numbers in a list.
        padding: what stands after a list's last number.
        refuse: called with the row and what it holds where a list is longer
            or has a gap; it raises.

    Returns:
        The numbers [N, size], of their own type or float64 where `padding`
        asks for it, and bool [N, size], True where a number was given.
    """
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    lengths = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    if (lengths > size).any():
        row = int(np.argmax(lengths > size))
        refuse(row, f"{lengths[row]} numbers")
    flat = array.flatten()  # leaves out what lies behind a null
    if flat.null_count:
        gap = int(np.argmax(pc.is_null(flat).to_numpy(zero_copy_only=False)))
        row = int(np.searchsorted(np.cumsum(lengths), gap, side="right"))
        refuse(row, "a list with a gap")
    values = flat.to_numpy(zero_copy_only=False)
    given = np.arange(size) < lengths[:, None]  # [N, size]
    dtype = np.result_type(values.dtype, np.float64)
    if float(padding).is_integer():
        dtype = values.dtype
    result = np.full(given.shape, padding, dtype)
    result[given] = values
    return result, given


def match_weights(
    spec: FeatureSpec, batch: Batch, refuse: Callable[[int, str, str], None]
):
    """Holds weights to their bags, and makes those of padding 0.

    Args:
        spec: the columns.
        batch: columns by name; weights are NaN here where none was given.
        refuse: called with row, weights column and what it holds where a
            row has more or fewer weights than ids; it raises.
    """
    weighted = {f.name: f.weights for f in spec.categorical if f.weights}
    for bag, name in weighted.items():
        ids = (batch[bag] != PADDING_ID).sum(axis=1)
        given = (~np.isnan(batch[name])).sum(axis=1)
        if (ids != given).any():
            row = int(np.argmax(ids != given))
            text = f"{given[row]} weights for {ids[row]} ids"
            refuse(row, name, text)
    for name in set(weighted.values()):
        batch[name] = np.nan_to_num(batch[name], copy=False, nan=0.0)
