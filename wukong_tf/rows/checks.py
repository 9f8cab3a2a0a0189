"""Rules of the columns of a click log."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wukong_tf.arrow.groups import MISSING_GROUP, groups
from wukong_tf.arrow.plain import is_list, is_number, is_text
from wukong_tf.config import FeatureSpec
from wukong_tf.config.categorical_feature import MISSING_ID, CategoricalFeature
from wukong_tf.config.features import (
    LARGEST_NUMBER,
    LARGEST_WEIGHT,
    NUMBER_RANGE,
    WEIGHT_RANGE,
)
from wukong_tf.features import Lookups
from wukong_tf.rows import raw_values

NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Check:
    """The rule of one column in one role.

    Args:
        name: column name.
        types: description of valid Arrow types.
        has_type: returns whether an Arrow type is valid.
        dtype: NumPy dtype of the result.
        rule: description of valid values.
        holds: function from values [N], or vectors [N, size], to bool [N].
        instead: replacement of a bad value, if it is not an error.
        size: floats in a vector; None for a column of single values.
        max_size: how many of a list's first numbers are read; None for other
            columns.
        weighted: whether each value of a list has a weight.
        padding: value after a list's last number.
        may_be_null: whether a row may have no value, which becomes NaN.
        encode: function from raw values to ids that keeps nulls; None for a
            column whose values are used as they are.
        missing: id of a row without a raw value; None if such a row breaks
            the rule.
        key: name of the result. Defaults to None, the column's.
    """

    name: str
    types: str
    has_type: Callable[[pa.DataType], bool]
    dtype: type
    rule: str
    holds: Callable[[np.ndarray], np.ndarray]
    instead: float
    size: int | None = None
    max_size: int | None = None
    weighted: bool = False
    padding: float = 0.0
    may_be_null: bool = False
    encode: Callable[[pa.Array], pa.Array] | None = None
    missing: int | None = MISSING_ID
    key: str | None = None


def checks_from_spec(
    spec: FeatureSpec,
    *,
    labels: bool = True,
    served: bool = False,
    lookups: Lookups | None = None,
) -> list[Check]:
    """Returns the rule of every column of `spec`, features first.

    Args:
        spec: the columns.
        labels: whether to include label, weight and group columns.
        served: whether the rows are a request's, in which any number may be
            missing. Defaults to False: only those with a stated `missing` may.
        lookups: maps raw values to ids. Defaults to None, those of `spec`.
    """
    if lookups is None and any(f.logged_raw for f in spec.categorical):
        lookups = _lookups(spec)
    result = []
    for feature in spec.categorical:
        if feature.logged_raw and lookups is not None:
            result.append(_raw(feature, lookups))
        elif feature.max_ids is None:
            result.append(_ids(feature.name, feature.num_ids))
        else:
            result.append(_bags(feature.name, feature.num_ids, feature.max_ids))
        if feature.weights:
            result.append(_bag_weights(feature.weights, feature.ids_per_row))
    result += [
        _numbers(f.name, served or f.missing is not None) for f in spec.numeric
    ]
    result += [_vectors(f.name, f.size) for f in spec.vector]
    if not labels:
        return result
    result += [_labels(t.label, t.missing_labels) for t in spec.tasks]
    if spec.weight:
        result.append(_weights(spec.weight))
    if spec.group:
        result.append(_groups(spec.group, spec.group_key))
    return result


@functools.lru_cache(maxsize=1)
def _lookups(spec: FeatureSpec) -> Lookups:
    """Returns the lookups of a spec, shared by all of its splits."""
    return Lookups(spec)


def _is_list_of(kind, has_type):
    return is_list(kind) and (
        pa.types.is_null(kind.value_type) or has_type(kind.value_type)
    )


def _is_vector(kind):
    return _is_list_of(kind, is_number)


def _is_flag(kind):
    return pa.types.is_boolean(kind) or is_number(kind)


def _ids(name, num_ids):
    return Check(
        name,
        "integers",
        pa.types.is_integer,
        np.int32,
        f"an id of at least 0 and below {num_ids}",
        lambda values: (values >= 0) & (values < num_ids),
        instead=min(MISSING_ID, num_ids - 1),
    )


def _raw(feature: CategoricalFeature, lookups: Lookups) -> Check:
    types, rule, has_type = raw_values.TYPES[feature.raw or ""]
    if feature.pooling:
        types = f"lists of {types}"
        rule = f"a list, each value {rule}"
        has_type = functools.partial(_is_list_of, has_type=has_type)
    return Check(
        feature.name,
        types,
        has_type,
        np.int32,
        rule,
        # An id of -1 marks an invalid raw value.
        lambda values: values >= 0,
        instead=feature.missing_id,
        max_size=feature.max_ids,
        weighted=feature.weights is not None,
        encode=lambda array: raw_values.ids(array, feature, lookups),
        missing=feature.missing_id,
    )


def _bags(name, num_ids, max_ids):
    return Check(
        name,
        "lists of integers",
        lambda kind: _is_list_of(kind, pa.types.is_integer),
        np.int32,
        f"a list of ids, each at least 1 and below {num_ids}",
        lambda values: (values >= 1) & (values < num_ids),
        instead=0,
        max_size=max_ids,
    )


def _bag_weights(name, max_ids):
    return Check(
        name,
        "lists of numbers",
        _is_vector,
        np.float32,
        f"a list of weights {WEIGHT_RANGE}",
        lambda values: _within(values, 0.0, LARGEST_WEIGHT),
        instead=NAN,
        max_size=max_ids,
        padding=NAN,
    )


def _within(values, least, most):
    """Returns whether each value is in the range as float32; NaN is not."""
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    return (least <= values) & (values <= most)


def _in_number_range(values):
    return _within(values, -LARGEST_NUMBER, LARGEST_NUMBER)


def _or_missing(check: Check) -> Check:
    """Returns the check of a column in which values may be missing."""
    return dataclasses.replace(
        check,
        rule=f"{check.rule}, or missing",
        holds=lambda values: check.holds(values) | np.isnan(values),
        may_be_null=True,
    )


def _numbers(name, may_be_missing):
    check = Check(
        name,
        "numbers",
        is_number,
        np.float32,
        f"a number {NUMBER_RANGE}",
        _in_number_range,
        instead=NAN,
    )
    return _or_missing(check) if may_be_missing else check


def _vectors(name, size):
    return Check(
        name,
        "lists of numbers",
        _is_vector,
        np.float32,
        f"a vector of {size} numbers {NUMBER_RANGE}",
        lambda values: _in_number_range(values).all(axis=1),
        instead=0.0,
        size=size,
    )


def _labels(name, may_be_missing):
    check = Check(
        name,
        "numbers or booleans",
        _is_flag,
        np.float32,
        "a label of 0 or 1",
        lambda values: (values == 0) | (values == 1),
        instead=NAN,
    )
    return _or_missing(check) if may_be_missing else check


def _weights(name):
    return Check(
        name,
        "numbers",
        is_number,
        np.float32,
        "a finite weight of at least 0",
        lambda values: np.isfinite(values) & (values >= 0),
        instead=0.0,
    )


def _groups(name, key):
    is_feature = key != name

    def encode(array):
        # Integers are groups themselves, up to the largest int64.
        if pa.types.is_integer(array.type) or pa.types.is_null(array.type):
            return array
        ids = groups(array)
        nulls = pc.equal(ids, MISSING_GROUP)
        return pc.if_else(nulls, pa.scalar(None, pa.int64()), ids)

    return Check(
        name,
        "integers or strings",
        lambda kind: (
            pa.types.is_integer(kind)
            or is_text(kind)
            or (is_feature and is_number(kind))
        ),
        np.int64,
        "a string, or an integer that int64 can hold",
        lambda values: values <= np.iinfo(np.int64).max,
        instead=-1,
        encode=encode,
        missing=MISSING_GROUP if is_feature else None,
        key=key,
    )
