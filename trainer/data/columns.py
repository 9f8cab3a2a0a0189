"""What each column of a click log must hold, and its Arrow array as NumPy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data import bags
from trainer.data.source import Batch
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError


@dataclasses.dataclass(frozen=True)
class Check:
    """The rule of one column in one role.

    Args:
        name: of the column.
        types: what its Arrow type must be, in words.
        has_type: whether an Arrow type is one of those.
        dtype: NumPy dtype of what is read.
        rule: what its values must be, in words.
        holds: from values [N], or vectors [N, size], to bool [N].
        size: floats in a vector; None for a column of single values.
        max_size: most numbers in a list; None for other columns.
        padding: what stands after a list's last number.
        may_be_null: whether a row may have no value, which becomes NaN.
    """

    name: str
    types: str
    has_type: Callable[[pa.DataType], bool]
    dtype: type
    rule: str
    holds: Callable[[np.ndarray], np.ndarray]
    size: int | None = None
    max_size: int | None = None
    padding: float = 0.0
    may_be_null: bool = False


def checks(spec: FeatureSpec, *, labels: bool = True) -> list[Check]:
    """The rule of every column of `spec`, features first.

    Args:
        spec: the columns.
        labels: whether label, weight and group columns are among them.
    """
    result = []
    for feature in spec.categorical:
        if feature.max_ids is None:
            result.append(_ids(feature.name, feature.num_ids))
            continue
        result.append(_bags(feature.name, feature.num_ids, feature.max_ids))
        if feature.weights:
            result.append(_bag_weights(feature.weights, feature.max_ids))
    result += [_numbers(f.name) for f in spec.numeric]
    result += [_vectors(f.name, f.size) for f in spec.vector]
    if not labels:
        return result
    result += [_labels(t.label, t.missing_labels) for t in spec.tasks]
    if spec.weight:
        result.append(_weights(spec.weight))
    if spec.group:
        result.append(_groups(spec.group))
    return result


def check_type(where: str, schema: pa.Schema, check: Check):
    """Refuses a schema whose column is missing, repeated or mistyped.

    Raises:
        DataError: naming file and column.
    """
    found = schema.names.count(check.name)
    if found != 1:
        problem = "is missing" if found == 0 else "stands there more than once"
        raise DataError(
            f"{where}: column {check.name!r} {problem}; there are "
            f"{', '.join(schema.names) or 'none'}."
        )
    kind = schema.field(check.name).type
    if not check.has_type(kind):
        raise DataError(
            f"{where}: column {check.name!r} must be {check.types}; it is "
            f"{kind}."
        )


def read(
    where: str, first_row: int, array: pa.ChunkedArray, check: Check
) -> np.ndarray:
    """The column as [N], or [N, size], of the check's dtype.

    Args:
        where: names the file in errors.
        first_row: number, in that file, of the array's first row.
        array: the column.
        check: its rule.

    Raises:
        DataError: a row has no value, or one that breaks the rule; the
            message names file, row, column, rule and value.
    """
    whole = array.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # by some versions of pyarrow
        whole = pa.concat_arrays(whole.chunks)
    if check.max_size is not None:
        return _read_lists(where, first_row, whole, check)
    if check.may_be_null:
        if pa.types.is_boolean(whole.type):
            whole = whole.cast(pa.int8())
        whole = whole.cast(pa.float64(), safe=False)
    elif whole.null_count:
        row = int(np.argmax(_null(whole)))
        _refuse(where, first_row + row, check, "no value")
    if check.size is None:
        raw = whole.to_numpy(zero_copy_only=False)
    else:
        raw = _rows_of_vectors(where, first_row, whole, check)
    values = _cast(raw, check.dtype)
    # On the values as they came: a cast may have wrapped them into range.
    good = check.holds(raw) & check.holds(values)
    if not good.all():
        row = int(np.argmin(good))
        _refuse(where, first_row + row, check, raw[row])
    return values


def _read_lists(where, first_row, array, check):
    """Lists of numbers as [N, max_size], padded."""

    def refuse(row, value):
        _refuse(where, first_row + row, check, value)

    raw, given = bags.padded(array, check.max_size, check.padding, refuse)
    values = _cast(raw, check.dtype)
    good = ((check.holds(raw) & check.holds(values)) | ~given).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        refuse(row, raw[row][given[row]])
    return values


def match_weights(where: str, first_row: int, spec: FeatureSpec, batch: Batch):
    """Holds the weights in `batch` to their bags; see `bags.match_weights`.

    Raises:
        DataError: naming file, row, column, rule and what came.
    """

    def refuse(row, name, value):
        raise DataError(
            f"{where}: row {first_row + row} (from 0), column {name!r}: must "
            f"be one weight for each id of its bag; received {value}."
        )

    bags.match_weights(spec, batch, refuse)


def _rows_of_vectors(where, first_row, array, check):
    """A list array as numbers of its own type [N, size]."""
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size)
    else:
        lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    wrong = lengths != check.size
    if wrong.any():
        row = int(np.argmax(wrong))
        _refuse(where, first_row + row, check, f"{lengths[row]} numbers")
    flat = array.flatten()
    if flat.null_count:
        row = int(np.argmax(_null(flat))) // check.size
        _refuse(where, first_row + row, check, "a vector with a gap")
    return flat.to_numpy(zero_copy_only=False).reshape(-1, check.size)


def _cast(values, dtype):
    # What float32 cannot hold becomes infinite, and is refused as that.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype)


def _null(array):
    return pc.is_null(array).to_numpy(zero_copy_only=False)


def _refuse(where, row, check, value):
    raise DataError(
        f"{where}: row {row} (from 0), column {check.name!r}: must be "
        f"{check.rule}; received {_text(value)}."
    )


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, threshold=16, max_line_width=10_000)
    return str(value)


def _is_number(kind):
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_list(kind):
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def _is_vector(kind):
    return _is_list(kind) and _is_number(kind.value_type)


def _is_flag(kind):
    return pa.types.is_boolean(kind) or _is_number(kind)


def _finite(values):
    return np.isfinite(values)


def _ids(name, num_ids):
    return Check(
        name,
        "integers",
        pa.types.is_integer,
        np.int32,
        f"an id of at least 0 and below {num_ids}",
        lambda values: (values >= 0) & (values < num_ids),
    )


def _bags(name, num_ids, max_ids):
    return Check(
        name,
        "lists of integers",
        lambda kind: _is_list(kind) and pa.types.is_integer(kind.value_type),
        np.int32,
        f"a list of at most {max_ids} ids, each at least 1 and below {num_ids}",
        lambda values: (values >= 1) & (values < num_ids),
        max_size=max_ids,
    )


def _bag_weights(name, max_ids):
    return Check(
        name,
        "lists of numbers",
        _is_vector,
        np.float32,
        f"a list of at most {max_ids} finite weights of at least 0",
        lambda values: np.isfinite(values) & (values >= 0),
        max_size=max_ids,
        padding=float("nan"),
    )


def _numbers(name):
    return Check(
        name,
        "numbers",
        _is_number,
        np.float32,
        "a finite float32",
        _finite,
    )


def _vectors(name, size):
    return Check(
        name,
        "lists of numbers",
        _is_vector,
        np.float32,
        f"a vector of {size} finite float32",
        lambda values: np.isfinite(values).all(axis=1),
        size,
    )


def _labels(name, may_be_missing):
    def holds(values):
        good = (values == 0) | (values == 1)
        return good | np.isnan(values) if may_be_missing else good

    return Check(
        name,
        "numbers or booleans",
        _is_flag,
        np.float32,
        "a label of 0 or 1" + (", or none" if may_be_missing else ""),
        holds,
        may_be_null=may_be_missing,
    )


def _weights(name):
    return Check(
        name,
        "numbers",
        _is_number,
        np.float32,
        "a finite weight of at least 0",
        lambda values: np.isfinite(values) & (values >= 0),
    )


def _groups(name):
    return Check(
        name,
        "integers",
        pa.types.is_integer,
        np.int64,
        "an integer that int64 can hold",
        lambda values: values <= np.iinfo(np.int64).max,
    )
