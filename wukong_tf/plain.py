"""Checked dataclasses to plain JSON values and back, with named errors."""

import dataclasses
import json
import math
import types
import typing
from typing import Any

from wukong_tf.errors import ConfigError


def parse_json(text: str, where: str) -> Any:
    """The JSON value in `text`; `where` names its origin in errors."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not valid JSON: {error}.") from error


def to_dict(value, defaults=False):
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


def from_dict(cls, data, where):
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


def read(hint, value, where):
    """A JSON value as the dataclass field of type `hint` expects it."""
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozen(value)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list; received {value!r}.")
        item = typing.get_args(hint)[0]
        return tuple(read(item, each, where) for each in value)
    return value


def frozen(value):
    """Lists as tuples, all the way down."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    return value


def check_name(where, value):
    if not isinstance(value, str) or not value or "/" in value:
        raise ConfigError(
            f"{where}: a name must be a non-empty string without '/'; "
            f"received {value!r}."
        )


def check_int(where, name, value, minimum):
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(
            f"{where}: `{name}` must be an integer; received {value!r}."
        )
    if value < minimum:
        raise ConfigError(
            f"{where}: `{name}` must be at least {minimum}; received {value}."
        )


def check_float(where, name, value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ConfigError(
            f"{where}: `{name}` must be a finite number; received {value!r}."
        )


def check_choice(where, name, value, choices):
    if value not in choices:
        raise ConfigError(
            f"{where}: `{name}` must be one of {list(choices)}; received "
            f"{value!r}."
        )


def check_units(where, name, value):
    if not isinstance(value, tuple):
        raise ConfigError(
            f"{where}: `{name}` must be a sequence of integers; received "
            f"{value!r}."
        )
    for item in value:
        check_int(where, name, item, 1)
