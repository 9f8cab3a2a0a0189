"""Makes the inputs of a published ONNX file from raw rows.

This file needs Python 3.11 and NumPy alone, so it can be copied to where
requests are made. From the command line it reads rows as lines of JSON:

    python encode.py --features=features.json < rows.jsonl > inputs.npz

In a program:

    encoder = Encoder.from_file("features.json")
    inputs = encoder.encode([{"user": "u17", "price": 3.5, ...}, ...])
    session.run(None, inputs)
"""

import argparse
import json
import struct
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, NoReturn

import numpy as np

PADDING_ID, MISSING_ID, OOV_ID = 0, 1, 2

_MASK = 2**64 - 1
# FarmHash's constants, https://github.com/google/farmhash (farmhash.cc).
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


class Encoder:
    """From raw rows to the inputs of the ONNX file.

    Args:
        features: what features.json of the version holds.

    Raises:
        ValueError: it does not describe features.
    """

    def __init__(self, features: Mapping[str, Any]):
        try:
            self._categorical = list(features.get("categorical", ()))
            self._numeric = [f["name"] for f in features.get("numeric", ())]
            self._vector = [
                (f["name"], f["size"]) for f in features.get("vector", ())
            ]
            self._places: dict[str, dict[str, int]] = {}
            for feature in self._categorical:
                words = feature.get("vocabulary")
                if words is not None and feature.get("raw"):
                    first = OOV_ID + feature.get("oov_buckets", 1)
                    self._places[_table(feature)] = {
                        word: first + place for place, word in enumerate(words)
                    }
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"features.json: {error!r}.") from error

    @classmethod
    def from_file(cls, path: str) -> "Encoder":
        """The encoder of the features.json at `path`."""
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def encode(
        self, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, np.ndarray]:
        """The inputs for some rows.

        Args:
            rows: each a dict of column name to its value: a string, a
                number, a list of them for a bag, its weights or a vector.
                Integers and their decimal texts stand for one another. A
                value that is not there, or None, is missing: that holds for
                features with `raw`, for bags, and for numbers. Of a bag the
                first `max_ids` values that are not missing count.

        Returns:
            dict of input name to int64 [B] or [B, max_ids], and float32 [B],
            [B, max_ids] or [B, size].

        Raises:
            ValueError: a value breaks its column's rule; the message names
                row, column, rule and value.
        """
        inputs: dict[str, np.ndarray] = {}
        for feature in self._categorical:
            name = feature["name"]
            if feature.get("max_ids"):
                inputs |= self._bags(feature, rows)
                continue
            inputs[name] = np.array(
                [
                    self._id(feature, row.get(name), number)
                    for number, row in enumerate(rows)
                ],
                np.int64,
            )
        for name in self._numeric:
            numbers = [
                _number(name, row.get(name), number)
                for number, row in enumerate(rows)
            ]
            inputs[name] = np.array(numbers, np.float32)
        for name, size in self._vector:
            inputs[name] = _vectors(name, size, rows)
        return inputs

    def _bags(self, feature, rows):
        name, size = feature["name"], feature["max_ids"]
        ids = np.full((len(rows), size), PADDING_ID, np.int64)
        weights = np.zeros((len(rows), size), np.float32)
        for number, row in enumerate(rows):
            bag = row.get(name)
            bag = [] if bag is None else bag
            if isinstance(bag, str | bytes):
                _refuse(number, name, "a list", bag)
            found = [self._id(feature, value, number) for value in bag]
            if feature.get("weights"):
                given = row.get(feature["weights"])
                given = [] if given is None else given
                if len(given) != len(bag):
                    rule = f"one weight for each of {len(bag)} values"
                    _refuse(number, feature["weights"], rule, given)
                weights[number, : len(given)] = given[:size]
            elif feature.get("raw") and len(found) > size:
                found = [each for each in found if each != PADDING_ID]
            ids[number, : len(found)] = found[:size]
        inputs = {name: ids}
        if feature.get("weights"):
            inputs[feature["weights"]] = weights
        return inputs

    def _id(self, feature, value, number) -> int:
        raw = feature.get("raw")
        missing = PADDING_ID if feature.get("max_ids") else MISSING_ID
        if raw is None:
            if isinstance(value, bool) or not isinstance(value, int):
                if not isinstance(value, np.integer):
                    _refuse(number, feature["name"], "an integer id", value)
            return int(value)
        if value is None:
            return missing
        if raw == "float":
            return self._bucket(feature, value, number)
        text = _text(value)
        if text is None or raw == "int64" and text and not _is_int64(text):
            rule = "a string or an integer"
            if raw == "int64":
                rule = "an integer that int64 can hold"
            _refuse(number, feature["name"], rule, value)
        if not text:
            return missing
        if raw == "int64" and int(text) == feature.get("missing_value", -1):
            return missing
        places = self._places.get(_table(feature))
        if places is None:
            buckets = feature["num_ids"] - OOV_ID
        else:
            if text in places:
                return places[text]
            buckets = feature.get("oov_buckets", 1)
        return OOV_ID + fingerprint64(text.encode()) % buckets

    def _bucket(self, feature, value, number):
        value = np.float32(_number(feature["name"], value, number))
        if np.isnan(value):
            return MISSING_ID
        boundaries = np.array(feature["boundaries"], np.float32)
        first = OOV_ID + feature.get("oov_buckets", 1)
        return first + int(np.searchsorted(boundaries, value, side="right"))


def fingerprint64(data: bytes) -> int:
    """FarmHash's Fingerprint64 of `data`.

    The same on every machine, and the same as `tf.strings.to_hash_bucket_fast`
    takes modulo the number of buckets.
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


def _text(value) -> str | None:
    """A string or an integer as text, or None for others."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    return value if isinstance(value, str) else None


def _is_int64(text) -> bool:
    """Whether a text is the decimal text of an integer that int64 holds."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        return False
    return str(int(text)) == text and -(2**63) <= int(text) < 2**63


def _number(name, value, number):
    if value is None:
        return np.nan
    if isinstance(value, bool | str | bytes):
        _refuse(number, name, "a number", value)
    try:
        return float(value)
    except (TypeError, ValueError):
        _refuse(number, name, "a number", value)


def _vectors(name, size, rows):
    vectors = np.zeros((len(rows), size), np.float32)
    for number, row in enumerate(rows):
        value = row.get(name)
        if value is None or len(value) != size:
            _refuse(number, name, f"a vector of {size} numbers", value)
        vectors[number] = value
    return vectors


def _refuse(number, name, rule, value) -> NoReturn:
    raise ValueError(
        f"row {number} (from 0), column {name!r}: must be {rule}; received "
        f"{value!r}."
    )


def read_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    """The rows in lines of JSON, empty lines left out.

    Raises:
        ValueError: a line is no JSON object; the message names it.
    """
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: must be a JSON object.")
        rows.append(row)
    return rows


def write_inputs(file: IO[bytes], inputs: Mapping[str, np.ndarray]):
    """Writes arrays as `numpy.savez` does, for inputs of any name.

    `savez` takes names as its own arguments, such as "file".

    Raises:
        ValueError: `numpy.load` would take one name for another.
    """
    for name in inputs:
        if f"{name}.npy" in inputs:
            raise ValueError(
                f"inputs {name!r} and {name + '.npy'!r} cannot stand in one "
                ".npz file; call the encoder in a program."
            )
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in inputs.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                np.lib.format.write_array(out, array, allow_pickle=False)


def main():
    """Reads rows from the standard input, writes inputs to the output."""
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
