"""Encodes raw rows as the inputs of a published version.

This file requires only Python 3.11 and NumPy, so it can be copied to clients.
From the command line it reads rows as JSON lines:

    python encode.py --features=features.json < rows.jsonl > inputs.npz

In a program:

    encoder = Encoder.from_file("features.json")
    inputs = encoder.encode([{"user": "u17", "price": 3.5, ...}, ...])
    session.run(None, inputs)
"""

import argparse
import contextlib
import dataclasses
import json
import math
import numbers
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import IO, Any

import numpy as np

PADDING_ID, MISSING_ID, OOV_ID = 0, 1, 2

_MASK = 2**64 - 1
# FarmHash's constants, https://github.com/google/farmhash (farmhash.cc).
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
# Bounds below which whole floats are exact integers, by bytes per float.
_EXACT = {2: 2**11, 4: 2**24}
_BEYOND = (2 - 2**-24) * 2.0**127  # the least that float32 rounds to infinity
# The largest that float32 rounds to 2**63, of numbers, and 2**53, of weights.
_LARGEST, _HEAVIEST = (1 + 2**-24) * 2.0**63, (1 + 2**-24) * 2.0**53
_SMALLEST = 2.0**-126  # of normal float32 numbers; smaller ones count as 0
_DTYPES: dict[str, Any] = {
    "id": np.int64,
    "int64": np.int64,
    "string": object,
    "bytes": object,
}
_RULES = {
    "id": "an integer id of 64 bits",
    "int64": "an integer that int64 can hold",
    "string": "a string or an integer, as UTF-8",
    "bytes": "a string, as UTF-8, or bytes",
    "float": "a number",
    "number": "a number in [-2**63, 2**63], or missing",
    "vector": "a number in [-2**63, 2**63]",
    "weight": "a number in [0, 2**53]",
}

Arrays = dict[str, np.ndarray]


class BadValue(ValueError):
    """Raised if a value breaks its column's rule.

    Args:
        column: name of the column.
        row: index of the row, from 0.
        rule: description of valid values.
        value: the invalid value.
    """

    def __init__(self, column: str, row: int, rule: str, value: Any):
        try:
            shown = repr(value)
        except ValueError:  # more digits than Python prints
            shown = "an integer of thousands of digits"
        except RecursionError:
            shown = "lists that are nested too deeply"
        super().__init__(
            f"row {row} (from 0), column {column!r}: must be {rule}; received "
            f"{shown}."
        )
        self.column, self.row, self.rule, self.value = column, row, rule, value


class _Broken(Exception):
    """Raised for an invalid value, with its rule or "" for its kind's rule."""


@dataclasses.dataclass(frozen=True)
class Column:
    """An input of a request and the rule of its values.

    Args:
        name: name of the input.
        kind: "id", "string", "int64" or "float" for a categorical feature,
            by its `raw`; "number", "vector", "weight" of a bag's ids, or
            "bytes".
        size: size of a vector, or largest number of values of a bag.
            Defaults to None, a single value.
        missing: value that replaces missing ones and pads bags. Defaults to
            None: values must not be missing.
        num_ids: upper bound of ids, exclusive. Defaults to None, any int64.
        weights: name of the column of a bag's weights. Defaults to None.
    """

    name: str
    kind: str
    size: int | None = None
    missing: Any = None
    num_ids: int | None = None
    weights: str | None = None

    @property
    def dtype(self) -> Any:
        """NumPy dtype of the values; object for strings, each of bytes."""
        return _DTYPES.get(self.kind, np.float32)

    @property
    def is_bag(self) -> bool:
        """Whether a row holds a list of any length."""
        return self.size is not None and self.kind != "vector"

    @property
    def takes_text(self) -> bool:
        """Whether values may be text or bytes."""
        return self.kind in ("string", "int64", "bytes")

    def none(self, rows: int) -> np.ndarray:
        """Returns the array of `rows` missing values."""
        shape = (rows,) if self.size is None else (rows, self.size)
        return np.full(shape, self.missing, self.dtype)

    def array(self, values: Sequence[Any]) -> np.ndarray:
        """Returns the values of rows as an array [B] or [B, size].

        Bags are cut to their first `size` values that are not missing.

        Raises:
            BadValue: if a value breaks the rule; names the first such row.
        """
        numbers = self.rectangle(values)
        if numbers is not None:
            return numbers
        shape = () if self.size is None else (self.size,)
        array = np.empty((len(values), *shape), self.dtype)
        if not len(values):  # an empty list has no second dimension
            return array
        try:
            array[...] = [self._row(value) for value in values]
        except _Broken:
            for row, value in enumerate(values):
                with self.locating(row, value):
                    self._row(value)
            raise
        return array

    def rectangle(self, values: Sequence[Any]) -> np.ndarray | None:
        """Returns values as an array if all are valid numbers, else None."""
        if self.dtype is object:
            return None
        try:
            array = np.asarray(values)
        except (ValueError, OverflowError):  # rows of unequal lengths
            return None
        shape = () if self.size is None else (self.size,)
        if array.dtype.kind not in ("i" if self.dtype is np.int64 else "if"):
            return None
        if array.shape[1:] != shape or not len(array):
            return None
        if not isinstance(values, np.ndarray):
            flat = values if self.size is None else chain.from_iterable(values)
            if not {bool, np.bool_}.isdisjoint(map(type, flat)):
                return None  # bools among numbers became 0 or 1
        with np.errstate(over="ignore"):
            array = array.astype(self.dtype, copy=False)
        return array if self._holds(array) else None

    def _holds(self, array) -> bool:
        if self.kind == "id" and self.num_ids is not None:
            return bool(((array >= 0) & (array < self.num_ids)).all())
        if self.kind == "number":
            return not (np.abs(array) > _LARGEST).any()
        if self.kind == "vector":
            return bool((np.abs(array) <= _LARGEST).all())
        if self.kind == "weight":
            return bool(((array >= 0) & (array <= _HEAVIEST)).all())
        return True

    @contextlib.contextmanager
    def locating(self, row: int, value: Any) -> Iterator[None]:
        """Converts _Broken in the block to a BadValue of this row."""
        try:
            yield
        except _Broken as error:
            rule = str(error) or _RULES[self.kind]
            raise BadValue(self.name, row, rule, value) from None

    def _row(self, value):
        if self.size is None:
            return self.value(value)
        if self.kind == "vector":
            rule = f"a list of {self.size} numbers in [-2**63, 2**63]"
            if not _is_list(value) or len(value) != self.size:
                raise _Broken(rule)
            try:
                return [self.value(number) for number in value]
            except _Broken:
                raise _Broken(rule) from None
        listed, bag = self.listed(value), list[Any]()
        for item in listed:
            if len(bag) == self.size:
                break
            read = self.value(item)
            if read != self.missing or len(listed) <= self.size:
                bag.append(read)
        return bag + [self.missing] * (self.size - len(bag))

    def listed(self, value: Any) -> Sequence[Any]:
        """Returns the values of a bag, or raises _Broken."""
        if value is None:
            return []
        if not _is_list(value):
            raise _Broken(f"a list, each value {_RULES[self.kind]}")
        return value

    def value(self, value: Any) -> Any:
        """Returns one value, converted, or raises _Broken."""
        return _READERS[self.kind](self, value)


def _is_list(value):
    return isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )


def _is_whole(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_gap(value):
    return value is None or (
        isinstance(value, float | np.floating) and value != value
    )


def _int64(value):
    value = int(value)
    if not -(2**63) <= value < 2**63:
        raise _Broken
    return value


def _whole_float(value):
    """Returns a float as an int; raises _Broken unless that is exact."""
    size = value.itemsize if isinstance(value, np.floating) else 8
    if not abs(value) < _EXACT.get(size, 2**53) or value != int(value):
        raise _Broken
    return int(value)


def _read_id(column, value):
    if not _is_whole(value):
        raise _Broken
    value = _int64(value)
    if column.num_ids is not None and not 0 <= value < column.num_ids:
        raise _Broken(f"an id in [0, {column.num_ids})")
    return value


def _read_int64(column, value):
    if _is_gap(value):
        return column.missing
    if _is_whole(value):
        return _int64(value)
    if isinstance(value, float | np.floating):
        return _whole_float(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or value and not _is_int64(value):
        raise _Broken
    return int(value) if value else column.missing


def _read_string(column, value):
    if _is_gap(value):
        return column.missing
    if isinstance(value, bool | np.bool_):
        return b"true" if value else b"false"
    if isinstance(value, float | np.floating):
        value = _whole_float(value)
    if _is_whole(value):
        try:
            return str(int(value)).encode()
        except ValueError:  # more digits than Python prints
            raise _Broken from None
    return _read_bytes(column, value)


def _read_bytes(column, value):
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _Broken
    try:
        return value.encode()
    except UnicodeEncodeError:  # an unpaired surrogate
        raise _Broken from None


def _read_float(column, value):
    """Returns a number as float; infinite if beyond float32's range."""
    if value is None and column.missing is not None:
        return column.missing
    real = isinstance(value, numbers.Number) and not isinstance(value, bool)
    is_complex = isinstance(value, numbers.Complex)
    if not real or is_complex and not isinstance(value, numbers.Real):
        raise _Broken
    try:
        value = float(value)
    except OverflowError:
        value = math.inf if value > 0 else -math.inf
    return math.copysign(math.inf, value) if abs(value) >= _BEYOND else value


def _read_number(column, value):
    value = _read_float(column, value)
    if abs(value) > _LARGEST:
        raise _Broken
    return value


def _read_component(column, value):
    value = _read_float(column, value)
    if not abs(value) <= _LARGEST:
        raise _Broken
    return value


def _read_weight(column, value):
    value = _read_float(column, value)
    if not 0 <= value <= _HEAVIEST:
        raise _Broken
    return value


_READERS: dict[str, Callable[[Column, Any], Any]] = {
    "id": _read_id,
    "int64": _read_int64,
    "string": _read_string,
    "bytes": _read_bytes,
    "float": _read_float,
    "number": _read_number,
    "vector": _read_component,
    "weight": _read_weight,
}


def columns_of(features: Mapping[str, Any]) -> dict[str, Column]:
    """Returns the inputs of a request, by name.

    Args:
        features: contents of the version's features.json.
    """
    columns = {}
    for feature in features.get("categorical", ()):
        name, kind = feature["name"], feature.get("raw") or "id"
        size, weights = feature.get("max_ids"), feature.get("weights")
        missing = {
            "id": PADDING_ID if size else None,
            "string": b"",
            "int64": feature.get("missing_value", -1),
            "float": math.nan,
        }[kind]
        bounded = kind == "id" and feature.get("oov_id") is None
        num_ids = feature["num_ids"] if bounded else None
        columns[name] = Column(name, kind, size, missing, num_ids, weights)
        if weights:
            columns[weights] = Column(weights, "weight", size, 0.0)
    for feature in features.get("numeric", ()):
        name = feature["name"]
        columns[name] = Column(name, "number", missing=math.nan)
    for feature in features.get("vector", ()):
        name = feature["name"]
        columns[name] = Column(name, "vector", feature["size"])
    return columns


def read(
    columns: Mapping[str, Column], given: Mapping[str, Sequence[Any]]
) -> Arrays:
    """Returns the values of rows as arrays, the inputs of the SavedModel.

    Args:
        columns: the inputs.
        given: column name to a value per row. A bag and its weights must have
            the same number of rows; if only one of the two is missing, it is
            read as empty. All other missing columns are left out of the
            result.

    Raises:
        BadValue: if a value breaks a rule; names column, row, rule and value.
    """
    arrays = {}
    weights = {column.weights for column in columns.values()}
    for name, column in columns.items():
        if name in weights:
            continue
        if column.weights is None:
            if name in given:
                arrays[name] = column.array(given[name])
            continue
        pair = column, columns[column.weights]
        lengths = [len(given[c.name]) for c in pair if c.name in given]
        if lengths:
            empty = [None] * lengths[0]
            values = (given.get(c.name, empty) for c in pair)
            arrays[name], arrays[column.weights] = _weighted(*pair, *values)
    return arrays


def _weighted(bag, weights, values, factors):
    """Returns bags and their weights as two arrays [B, size].

    Each value must have a weight, and vice versa; both may be padded.
    """
    ids, numbers = bag.rectangle(values), weights.rectangle(factors)
    if ids is not None and numbers is not None:
        if not ((ids == bag.missing) & (numbers > 0)).any():
            return ids, numbers
    ids, numbers = bag.none(len(values)), weights.none(len(values))
    for row, (value, factor) in enumerate(zip(values, factors, strict=True)):
        with bag.locating(row, value):
            listed = bag.listed(value)
            read = [bag.value(item) for item in listed[: bag.size]]
        with weights.locating(row, factor):
            given = weights.listed(factor)
            _match(bag, weights, read, given, len(listed))
            for place, item in enumerate(read):
                ids[row, place] = item
                if item != bag.missing:
                    numbers[row, place] = weights.value(given[place])
    return ids, numbers


def _match(bag, weights, read, given, length):
    """Raises _Broken if a value lacks a weight, or a weight a value."""
    real = [item != bag.missing for item in read]
    matched = length == len(given) or max(length, len(given)) <= bag.size
    for place in range(bag.size):
        has_value = place < len(real) and real[place]
        factor = given[place] if place < len(given) else None
        matched &= factor is not None or not has_value
        if not has_value and not _is_gap(factor):
            matched &= not weights.value(factor)
    if not matched:
        raise _Broken(f"one weight for each of {sum(real)} values")


class Encoder:
    """Encodes raw rows as inputs of the ONNX file.

    Args:
        features: contents of the version's features.json.

    Attributes:
        columns: the inputs of a request, by name.

    Raises:
        ValueError: if `features` is malformed.
    """

    def __init__(self, features: Mapping[str, Any]):
        try:
            self.columns = columns_of(features)
            self._raw = [
                f for f in features.get("categorical", ()) if f.get("raw")
            ]
            self._places: dict[str, dict[bytes, int]] = {}
            for feature in self._raw:
                words = feature.get("vocabulary")
                if words is not None:
                    first = OOV_ID + feature.get("oov_buckets", 1)
                    self._places[_table(feature)] = {
                        word.encode(): first + place
                        for place, word in enumerate(words)
                    }
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"features.json: {error!r}.") from error

    @classmethod
    def from_file(cls, path: str) -> "Encoder":
        """Returns the encoder of the features.json at `path`."""
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> Arrays:
        """Returns the inputs for rows.

        Args:
            rows: each a dict of column name to value: a string, a number, or
                a list of them for a bag, its weights or a vector. Integers
                and their decimal texts are equivalent. Values of features
                with `raw`, bags and numbers may be missing, i.e. None or left
                out. Bags are cut to their first `max_ids` values that are
                not missing.

        Returns:
            dict of input name to int64 [B] or [B, max_ids], and float32 [B],
            [B, max_ids] or [B, size].

        Raises:
            BadValue: if a value breaks its column's rule; the message names
                row, column, rule and value. It is a ValueError.
        """
        return self.ids(self.request(rows))

    def request(self, rows: Sequence[Mapping[str, Any]]) -> Arrays:
        """Returns the columns of a request to the SavedModel.

        See `encode`, but raw values are kept: bytes, int64 and float32.
        """
        values = {
            name: [row.get(name) for row in rows] for name in self.columns
        }
        arrays = read(self.columns, values)
        return {name: arrays[name] for name in self.columns}

    def ids(self, columns: Mapping[str, np.ndarray]) -> Arrays:
        """Returns the columns of `request` with raw values encoded as ids."""
        encoded = {
            feature["name"]: self._ids(feature, columns[feature["name"]])
            for feature in self._raw
        }
        return {**columns, **encoded}

    def _ids(self, feature, values):
        if feature["raw"] == "float":
            boundaries = np.array(feature["boundaries"], np.float32)
            values = np.where(np.abs(values) < _SMALLEST, 0.0, values)
            first = OOV_ID + feature.get("oov_buckets", 1)
            ids = first + np.searchsorted(boundaries, values, side="right")
            return np.where(np.isnan(values), MISSING_ID, ids).astype(np.int64)
        column = self.columns[feature["name"]]
        known = {
            column.missing: PADDING_ID if column.is_bag else MISSING_ID
        }  # each distinct value is looked up once
        for value in values.reshape(-1).tolist():
            if value not in known:
                known[value] = self._id(feature, value)
        ids = [known[value] for value in values.reshape(-1).tolist()]
        return np.array(ids, np.int64).reshape(values.shape)

    def _id(self, feature, value) -> int:
        text = value if isinstance(value, bytes) else str(value).encode()
        places = self._places.get(_table(feature))
        if places is None:
            buckets = feature["num_ids"] - OOV_ID
        else:
            if text in places:
                return places[text]
            buckets = feature.get("oov_buckets", 1)
        return OOV_ID + fingerprint64(text) % buckets


def fingerprint64(data: bytes) -> int:
    """Returns FarmHash's Fingerprint64 of `data`.

    It is the same on every machine. `tf.strings.to_hash_bucket_fast` returns
    this hash modulo the number of buckets.
    """
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 32:
        return _up_to_32(data)
    if size <= 64:
        return _up_to_64(data)
    return _longer(data)


def _word(data, place):
    return struct.unpack_from("<Q", data, place)[0]


def _half(data, place):
    return struct.unpack_from("<I", data, place)[0]


def _rotate(value, bits):
    value &= _MASK
    return (value >> bits | value << (64 - bits)) & _MASK


def _shift_mix(value):
    value &= _MASK
    return value ^ value >> 47


def _mix(one, other, factor):
    one, other = one & _MASK, other & _MASK
    first = _shift_mix((one ^ other) * factor)
    return _shift_mix((other ^ first) * factor) * factor & _MASK


def _up_to_16(data):
    size = len(data)
    factor = _K2 + 2 * size
    if size >= 8:
        first = _word(data, 0) + _K2
        last = _word(data, size - 8)
        one = _rotate(last, 37) * factor + first
        other = (_rotate(first, 25) + last) * factor
        return _mix(one, other, factor)
    if size >= 4:
        first = _half(data, 0) << 3
        return _mix(size + first, _half(data, size - 4), factor)
    if size:
        one = data[0] + (data[size >> 1] << 8)
        other = size + (data[-1] << 2)
        return _shift_mix(one * _K2 ^ other * _K0) * _K2 & _MASK
    return _K2


def _up_to_32(data):
    size = len(data)
    factor = _K2 + 2 * size
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    return _mix(
        _rotate(a + b, 43) + _rotate(c, 30) + d,
        a + _rotate(b + _K2, 18) + c,
        factor,
    )


def _up_to_64(data):
    size = len(data)
    factor = _K2 + 2 * size
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _mix(y, a + _rotate(b + _K2, 18) + c, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g = (y + _word(data, size - 32)) * factor
    h = (z + _word(data, size - 24)) * factor
    return _mix(
        _rotate(e + f, 43) + _rotate(g, 30) + h,
        e + _rotate(f + a, 18) + g,
        factor,
    )


def _weak(data, place, a, b):
    """Mixes 32 bytes into a pair of seeds."""
    a += _word(data, place)
    last = _word(data, place + 24)
    b = _rotate(b + a + last, 21)
    c = a
    a += _word(data, place + 8) + _word(data, place + 16)
    b += _rotate(a, 44)
    return (a + last) & _MASK, (b + c) & _MASK


def _longer(data):
    size = len(data)
    x = (81 * _K2 + _word(data, 0)) & _MASK
    y = (81 * _K1 + 113) & _MASK
    z = _shift_mix(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    end = (size - 1) // 64 * 64
    for place in range(0, end, 64):
        x = _rotate(x + y + v[0] + _word(data, place + 8), 37) * _K1
        y = _rotate(y + v[1] + _word(data, place + 48), 42) * _K1
        x ^= w[1]
        y += v[0] + _word(data, place + 40)
        z = _rotate(z + w[0], 33) * _K1
        v = _weak(data, place, v[1] * _K1, x + w[0])
        w = _weak(data, place + 32, z + w[1], y + _word(data, place + 16))
        x, y, z = z & _MASK, y & _MASK, x & _MASK
    factor = _K1 + ((z & 0xFF) << 1)
    place = end + ((size - 1) & 63) - 63
    w = (w[0] + ((size - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x = _rotate(x + y + v[0] + _word(data, place + 8), 37) * factor
    y = _rotate(y + v[1] + _word(data, place + 48), 42) * factor
    x ^= w[1] * 9
    y += v[0] * 9 + _word(data, place + 40)
    z = _rotate(z + w[0], 33) * factor
    v = _weak(data, place, v[1] * factor, x + w[0])
    w = _weak(data, place + 32, z + w[1], y + _word(data, place + 16))
    return _mix(
        _mix(v[0], w[0], factor) + _shift_mix(y) * _K0 + x,
        _mix(v[1], w[1], factor) + z,
        factor,
    )


def _table(feature):
    return feature.get("table") or feature["name"]


def _is_int64(text) -> bool:
    """Returns whether `text` is the canonical decimal text of an int64."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return False
    return str(int(text)) == text and -(2**63) <= int(text) < 2**63


def read_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Reads rows from JSON lines; skips empty lines.

    Raises:
        ValueError: if a line is not a JSON object; the message names it.
    """
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: must be a JSON object.")
        rows.append(row)
    return rows


def write_inputs(file: IO[bytes], inputs: Mapping[str, np.ndarray]):
    """Writes arrays like `numpy.savez`, but with any names.

    `savez` would take some names as its own arguments, such as "file".

    Raises:
        ValueError: if `numpy.load` would confuse two names.
    """
    for name in inputs:
        if f"{name}.npy" in inputs:
            raise ValueError(
                f"inputs {name!r} and {name + '.npy'!r} would collide in an "
                ".npz file; call the encoder from Python."
            )
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in inputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                np.lib.format.write_array(out, array, allow_pickle=False)


def main():
    """Reads rows from standard input and writes inputs to standard output."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--features", required=True, help="features.json of the version"
    )
    values = parser.parse_args()
    try:
        encoder = Encoder.from_file(values.features)
        inputs = encoder.encode(read_rows(sys.stdin))
        write_inputs(sys.stdout.buffer, inputs)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
