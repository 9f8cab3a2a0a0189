"""Columns of lists, one list per row, as padded NumPy arrays."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import PADDING_ID
from wukong_tf.rows import Batch


@dataclasses.dataclass(frozen=True)
class Padded:
    """Lists padded to the same size.

    Args:
        values: the numbers [N, size], in their own dtype if the padding is an
            integer, else float64.
        given: bool [N, size], True for a number of the list.
        nulls: bool [N, size], True for a null in the list.
        lengths: lengths of the lists, int64 [N]; of lists longer than `size`,
            `values` has only the first numbers.
    """

    values: np.ndarray
    given: np.ndarray
    nulls: np.ndarray
    lengths: np.ndarray


def padded(array: pa.Array, size: int, padding: float) -> Padded:
    """Pads or truncates lists to [N, size].

    Args:
        array: a list array; a null is an empty list.
        size: numbers of a padded row.
        padding: value after a list's last number.
    """
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    lengths = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    flat = array.flatten()  # omits the values behind a null
    null = None
    if flat.null_count:
        null = pc.is_null(flat).to_numpy(zero_copy_only=False)
        flat = pc.fill_null(flat, pa.scalar(0).cast(flat.type))
    values = flat.to_numpy(zero_copy_only=False)
    if (lengths > size).any():
        starts = np.cumsum(lengths) - lengths
        place = np.arange(len(values)) - np.repeat(starts, lengths)
        values = values[place < size]
        null = None if null is None else null[place < size]
    given = np.arange(size) < lengths[:, None]  # [N, size]
    dtype = np.result_type(values.dtype, np.float64)
    if float(padding).is_integer():
        dtype = values.dtype
    result = np.full(given.shape, padding, dtype)
    result[given] = values
    nulls = np.zeros(given.shape, bool)
    if null is not None:
        nulls[given] = null
    return Padded(result, given, nulls, lengths)


def match_weights(
    spec: FeatureSpec,
    batch: Batch,
    table: pa.Table,
    report: Callable[[int, str, str, int], None],
):
    """Checks that each id has a weight, and sets weights of padding to 0.

    Args:
        spec: the columns.
        batch: columns by name; missing weights are NaN.
        table: the same rows as logged; of lists that are longer than `max_ids`,
            `batch` has only the first values.
        report: called with a row, its weights column, the content and the
            number of such rows, if rows have more or fewer weights than ids.
            Unless it raises, their bags become empty.
    """
    weighted = {f.name: f for f in spec.categorical if f.weights}
    for bag, feature in weighted.items():
        name = feature.weights or ""
        ids = (batch[bag] != PADDING_ID).sum(axis=1)
        given = (~np.isnan(batch[name])).sum(axis=1)
        logged = np.stack([_lengths(table[bag]), _lengths(table[name])])
        long = (logged > feature.ids_per_row).any(axis=0)
        wrong = (ids != given) | (long & (logged[0] != logged[1]))
        ids, given = np.where(long, logged, [ids, given])
        if wrong.any():
            row = int(np.argmax(wrong))
            text = f"{given[row]} weights for {ids[row]} ids"
            report(row, name, text, int(wrong.sum()))
            batch[bag][wrong] = PADDING_ID
    for name in {feature.weights or "" for feature in weighted.values()}:
        batch[name] = np.nan_to_num(batch[name], copy=False, nan=0.0)


def _lengths(array):
    if pa.types.is_null(array.type):  # no row has a list
        return np.zeros(len(array), np.int64)
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return lengths.to_numpy().astype(np.int64)
