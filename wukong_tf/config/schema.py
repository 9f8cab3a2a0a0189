"""Converts validated dataclasses to JSON values and back, with clear errors."""

import collections
import dataclasses
import json
import math
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from wukong_tf.errors import ConfigError

T = TypeVar("T")

# Of normal float32 numbers; only some engines represent those between 0 and it.
SMALLEST = 2.0**-126
FM_KINDS = ("full", "projected", "attentive")
FMB_ACTIVATIONS = ("linear", "relu")
# Those that every export format has: tf2onnx lacks the exact gelu's Erfc.
MLP_ACTIVATIONS = ("relu", "sigmoid", "silu", "tanh")
REMOVABLE = ("fmb", "lcb", "residual", "linear_path")


def parse_json(text: str, where: str) -> Any:
    """Returns the JSON value in `text`; `where` names its origin in errors.

    Raises ConfigError if an object repeats a key; the standard reader would
    silently keep only the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}.") from error


def read_json(path: str) -> Any:
    """Returns the JSON value in a file.

    Raises:
        ConfigError: it cannot be read, or is not valid JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    return parse_json(text, path)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the pairs of a JSON object as a dict, none of them lost."""
    if keys := repeated([key for key, _ in pairs]):
        raise ValueError(f"an object repeats the keys {keys}")
    return dict(pairs)


def repeated(values: Sequence[str]) -> list[str]:
    """Returns the values that occur more than once, in order of the first."""
    counts = collections.Counter(values)
    return [value for value, count in counts.items() if count > 1]


def to_dict(value: Any, defaults: bool = False) -> Any:
    """Converts a dataclass to a dict and a tuple to a list, recursively.

    Args:
        value: a checked dataclass, or a value of one of its fields.
        defaults: whether to include fields of the outermost dataclass that have
            their default; nested dataclasses always omit them.
    """
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_dict(getattr(value, field.name), False)
            for field in dataclasses.fields(value)
            if defaults
            or field.default is dataclasses.MISSING
            or getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Returns the `cls` described by `data`; unknown keys are errors.

    Args:
        cls: a dataclass that checks its fields.
        data: the result of `to_dict`, possibly read from JSON.
        where: names the origin of `data` in errors.

    Raises:
        ConfigError: `data` is not an object, lacks a key, has an unknown one or
            is nested too deeply, or `cls` rejects a value.
    """
    try:
        return _from_dict(cls, data, where)
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply.") from error


def _from_dict(cls, data, where):
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected an object; received {data!r}.")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in data:
        if key not in fields:
            raise ConfigError(
                f"{where}: unknown key {key!r}; expected one of "
                f"{sorted(fields)}."
            )
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in data:
            raise ConfigError(f"{where}: key {name!r} is missing.")
    hints = typing.get_type_hints(cls)
    return cls(
        **{
            key: read(hints[key], value, f"{where}: {key!r}")
            for key, value in data.items()
        }
    )


def read(hint: Any, value: Any, where: str) -> Any:
    """Converts a JSON value to a dataclass field of type `hint`."""
    if dataclasses.is_dataclass(hint):
        return _from_dict(hint, value, where)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozen(value)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list; received {value!r}.")
        item = typing.get_args(hint)[0]
        return tuple(
            read(item, element, f"{where}[{index}]")
            for index, element in enumerate(value)
        )
    return value


def frozen(value: Any) -> Any:
    """Converts sequences other than strings to tuples, recursively."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return tuple(frozen(item) for item in value)
    return value


def check_name(where: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a valid name of a column.

    A name is a non-empty string without "/" and NUL that UTF-8 can encode.
    """
    fits = isinstance(value, str) and value and not {"/", "\0"} & {*value}
    if fits:
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate
            fits = False
    if not fits:
        raise ConfigError(
            f"{where}: a name must be a non-empty string without '/' and NUL, "
            f"and valid Unicode; received {value!r}."
        )


def check_text(where: str, name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a string."""
    if not isinstance(value, str):
        raise ConfigError(
            f"{where}: `{name}` must be a string; received {value!r}."
        )


def check_int(where: str, name: str, value: Any, minimum: int) -> None:
    """Raises ConfigError unless `value` is an int >= `minimum`, not a bool."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(
            f"{where}: `{name}` must be an integer; received {value!r}."
        )
    if value < minimum:
        raise ConfigError(
            f"{where}: `{name}` must be at least {minimum}; received {value}."
        )


def check_float(
    where: str,
    name: str,
    value: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
) -> None:
    """Raises ConfigError unless `value` is a finite number, not a bool.

    It must be at least `minimum` and greater than `above`, if they are given.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        finite = number and math.isfinite(value)
    except OverflowError:  # An integer too large for a float.
        finite = False
    if not finite:
        raise ConfigError(
            f"{where}: `{name}` must be a finite number; received {value!r}."
        )
    if minimum is not None and value < minimum:
        raise ConfigError(
            f"{where}: `{name}` must be at least {minimum}; received {value}."
        )
    if above is not None and value <= above:
        raise ConfigError(
            f"{where}: `{name}` must be above {above}; received {value}."
        )


def check_bool(where: str, name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(
            f"{where}: `{name}` must be true or false; received {value!r}."
        )


def check_rate(where: str, name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a rate in [0, 1)."""
    check_float(where, name, value)
    if not 0 <= value < 1:
        raise ConfigError(
            f"{where}: `{name}` must be in [0, 1); received {value}."
        )


def check_choice(
    where: str, name: str, value: Any, choices: Sequence[str]
) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(
            f"{where}: `{name}` must be one of {list(choices)}; received "
            f"{value!r}."
        )


def check_units(where: str, name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a tuple of positive integers."""
    if not isinstance(value, tuple):
        raise ConfigError(
            f"{where}: `{name}` must be a sequence of integers; received "
            f"{value!r}."
        )
    for item in value:
        check_int(where, name, item, 1)


def check_rank(where: str, rank: int, n: int, layer: str = "") -> None:
    """Raises ConfigError if `rank` exceeds n, the number of embeddings."""
    if rank > n:
        raise ConfigError(
            f"{where}: `rank`{layer} must be at most {n}, the number of input "
            f"embeddings; received {rank}."
        )


def check_remove(where: str, value: Any) -> None:
    """Raises ConfigError unless a layer can do without the parts in `value`."""
    if not isinstance(value, tuple):
        raise ConfigError(
            f"{where}: `remove` must be a sequence of names; received "
            f"{value!r}."
        )
    for part in value:
        check_choice(where, "remove", part, REMOVABLE)
    if {"lcb", "residual"} <= set(value):
        raise ConfigError(
            f"{where}: `remove` must not name both 'lcb' and 'residual', which "
            "would remove the linear path; name 'linear_path' to do so. "
            f"Received {list(value)}."
        )
    if {"fmb", "linear_path"} <= set(value):
        raise ConfigError(
            f"{where}: `remove` must not name all parts of a layer; received "
            f"{list(value)}."
        )
