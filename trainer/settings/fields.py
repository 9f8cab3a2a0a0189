"""Settings: frozen dataclasses whose fields are flags of a program."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from absl import flags

from wukong_tf.config.schema import repeated
from wukong_tf.errors import ConfigError

MAX_SEED = 2**32 - 1  # of NumPy and TensorFlow
# Slow, and a tuner reads thousands of settings.
_type_hints: Any = functools.cache(typing.get_type_hints)

_S = TypeVar("_S")


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    may_change: bool = False,
    repeated: bool = False,
    needed: bool = False,
) -> Any:
    """Returns a field of a dataclass that also defines a flag of its name.

    Its annotation gives the kind of flag: bool, int, float, str, a Literal
    of strings for a choice, or tuple[str, ...] for a list, each also with
    None if the setting is optional.

    Args:
        default: default value.
        help: description of the setting, with its unit.
        minimum: smallest number allowed. Defaults to None, no bound.
        maximum: largest number allowed. Defaults to None, no bound.
        may_change: whether a run may be resumed with another value. Defaults
            to False.
        repeated: whether the flag of a list is given once per value, which
            may contain commas. Defaults to False.
        needed: whether the flag is required. Defaults to False.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "minimum": minimum,
            "maximum": maximum,
            "may_change": may_change,
            "repeated": repeated,
            "needed": needed,
        },
    )


class Settings:
    """Base of the dataclasses of settings: checks bounds and choices.

    Raises:
        ConfigError: a field is required but not given, out of its bounds,
            not one of its choices or not finite; the message names its flag.
    """

    def __post_init__(self):
        for field, kind in settings_of(type(self)):
            value = getattr(self, field.name)
            if field.metadata["needed"] and not value:
                raise ConfigError(f"--{field.name} is required.")
            if value is None:
                continue
            low, high = field.metadata["minimum"], field.metadata["maximum"]
            if typing.get_origin(kind) is typing.Literal:
                choices = typing.get_args(kind)
                if value not in choices:
                    raise ConfigError(
                        f"--{field.name} must be one of {list(choices)}; "
                        f"received {value!r}."
                    )
            elif kind is float and not math.isfinite(value):
                raise ConfigError(
                    f"--{field.name} must be finite; received {value}."
                )
            elif low is not None and not value >= low:
                raise ConfigError(
                    f"--{field.name} must be at least {low}; received {value}."
                )
            elif high is not None and not value <= high:
                raise ConfigError(
                    f"--{field.name} must be at most {high}; received {value}."
                )


def settings_of(cls: type) -> Iterator[tuple[dataclasses.Field, Any]]:
    """Yields the fields of a dataclass that are flags, with their kinds."""
    hints = _type_hints(cls)
    for field in dataclasses.fields(cls):
        if "help" in field.metadata:
            kind = hints[field.name]
            if typing.get_origin(kind) is types.UnionType:
                (kind,) = set(typing.get_args(kind)) - {types.NoneType}
            yield field, kind


def define(cls: type, values: flags.FlagValues):
    """Defines the flags of a dataclass, which checks bounds itself."""
    for field, kind in settings_of(cls):
        default: Any = field.default
        arguments = (field.name, default, field.metadata["help"])
        if kind is int:
            flags.DEFINE_integer(*arguments, flag_values=values)
        elif kind is float:
            flags.DEFINE_float(*arguments, flag_values=values)
        elif kind is bool:
            flags.DEFINE_bool(*arguments, flag_values=values)
        elif kind is str:
            flags.DEFINE_string(*arguments, flag_values=values)
        elif typing.get_origin(kind) is typing.Literal:
            name, _, text = arguments
            choices = typing.get_args(kind)
            flags.DEFINE_enum(name, default, choices, text, flag_values=values)
        else:
            name, _, text = arguments
            listed = None if default is None else list(default)
            make = flags.DEFINE_list
            if field.metadata["repeated"]:
                make = flags.DEFINE_multi_string
            make(name, listed, text, flag_values=values)


def from_flags(cls: type[_S], values: flags.FlagValues) -> _S:
    """Returns the settings of parsed flags.

    A field `given`, if there is one, holds the names of the flags given.

    Raises:
        ConfigError: a flag is invalid.
    """
    read: dict[str, Any] = {}
    if "given" in _type_hints(cls):
        read["given"] = given(values)
    for field, _ in settings_of(cls):
        value = values[field.name].value
        read[field.name] = tuple(value) if isinstance(value, list) else value
    return cls(**read)


def given(values: flags.FlagValues) -> frozenset[str]:
    """Returns the names of the flags that the user gave."""
    return frozenset(name for name in values if values[name].present)


def check_distinct(
    name: str, values: Sequence[str], choices: Iterable[str]
) -> None:
    """Raises ConfigError unless the flag --NAME lists distinct choices."""
    if repeated(values) or {*values} - {*choices}:
        raise ConfigError(
            f"--{name} must be distinct names of {list(choices)}; received "
            f"{','.join(values)!r}."
        )


def distinct_seeds(name: str, texts: Sequence[str]) -> list[int]:
    """Returns the seeds of the flag --NAME, a list.

    Raises:
        ConfigError: one is not an integer of 0 to MAX_SEED, or comes twice.
    """
    numbers = [int(text) for text in texts if text.strip().isdecimal()]
    valid = {number for number in numbers if number <= MAX_SEED}
    if not texts or len(valid) < len(texts):
        raise ConfigError(
            f"--{name} must be different integers of 0 to {MAX_SEED}; received "
            f"{','.join(texts)!r}."
        )
    return numbers
