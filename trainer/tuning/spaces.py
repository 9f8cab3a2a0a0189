"""Search spaces: the values that each flag of the trainer may have.

A file is TOML with one entry per flag, a range or choices:

    learning_rate = {low = 1e-4, high = 1e-2, log = true}
    num_layers = {low = 1, high = 4}
    num_fmb = {low = 4, high = 16, step = 4}
    mlp_units = {choices = ["64", "128,128"]}

and tables of entries for one value of a flag that all trials share, which are
added to the others or replace them:

    ["table_optimizer=adam"]
    table_learning_rate = {low = 1e-4, high = 1e-2, log = true}
"""

import contextlib
import dataclasses
import math
import os
import tomllib
from collections.abc import Iterator
from random import Random
from typing import Any

from trainer.data.spec import read_spec
from trainer.settings import Features, Training, command, fields
from trainer.settings.model import SIZES, Model
from trainer.tuning.flags import Flags, Value, trial_config, trial_settings
from wukong_tf.config import MODEL_CONFIGS
from wukong_tf.errors import ConfigError

COMMON = "common.toml"
_DRAWS = 1000  # of other flags' values, to find some that a value is valid with
# Trials that differ in these would not be compared by the same measure.
_FIXED = {
    "model",
    "preset",
    "seed",
    "eval",
    "eval_batch_size",
    "eval_every_steps",
    "early_stopping_metric",
    "early_stopping_task",
    "negative_rate",
    "progressive_window_rows",
}
_FLAGS = {
    field.name: kind
    for section in (Model, Training, Features)
    for field, kind in fields.settings_of(section)
    if field.name not in _FIXED
}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The values of one flag: a range or choices.

    Args:
        low: smallest number. Defaults to None, as there are choices.
        high: largest number, included. Defaults to None.
        log: whether numbers are drawn uniformly in their logarithm. Defaults
            to False.
        step: distance between integers. Defaults to 1.
        choices: values without an order. Defaults to (), a range.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int = 1
    choices: tuple[Value, ...] = ()

    def suggest(self, trial, name: str) -> None:
        """Has an `optuna.Trial` choose a value, unless it has chosen one."""
        if self.choices:
            trial.suggest_categorical(name, self.choices)
        elif isinstance(self.low, int):
            trial.suggest_int(
                name, self.low, self.high, step=self.step, log=self.log
            )
        else:
            trial.suggest_float(name, self.low, self.high, log=self.log)

    def rounded(self, value: Value) -> Value:
        """Returns a chosen value; of a range, floats have four digits."""
        if isinstance(value, float) and not self.choices:
            return float(f"{value:.4g}")
        return value

    def drawn(self, random: Random) -> Value:
        """Returns any of the values."""
        if self.choices:
            return random.choice(self.choices)
        assert self.low is not None and self.high is not None
        if isinstance(self.low, int):
            return random.randrange(self.low, int(self.high) + 1, self.step)
        return self.rounded(random.uniform(self.low, self.high))

    def ends(self) -> tuple[Value, ...]:
        """Returns the values to check: all choices, or both bounds."""
        if self.choices:
            return self.choices
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def __str__(self):
        if self.choices:
            return f"one of {list(self.choices)}"
        more = " log" if self.log else ""
        more += f" step {self.step}" if self.step != 1 else ""
        return f"{self.low} to {self.high}{more}"


Space = dict[str, Dimension]


def read(folder: str, model: str, base: Flags) -> Space:
    """Returns the space of a model: the common flags, then its own.

    Common flags that are sizes which the model does not have are left out.

    Args:
        folder: directory of the files.
        model: name of the model.
        base: flags that all trials share, by name, as arguments.

    Raises:
        ConfigError: a file cannot be read or breaks a rule, and the message
            names file, flag, rule and each value; or the model refuses `base`.
        DataError: the feature spec cannot be read.
    """
    try:
        settings = trial_settings(model, base, {})
    except ConfigError as error:
        raise ConfigError(f"--models={model}: {error}") from error
    own = {field.name for field in dataclasses.fields(MODEL_CONFIGS[model])}
    lacking = set(SIZES) - own
    space: Space = {}
    paths: dict[str, str] = {}
    for name in (COMMON, f"{model}.toml"):
        path = os.path.join(folder, name)
        for flag, dimension in _read_file(path, base):
            if name == COMMON and flag in lacking:
                continue
            if flag in space:
                raise ConfigError(
                    f"{path}: `{flag}` must not be in {COMMON} too, which is "
                    "the same for all models."
                )
            space[flag], paths[flag] = dimension, path
    if not space:
        raise ConfigError(f"{folder}: no flag of {model} has values to try.")
    spec, refused = read_spec(settings), []
    try:
        _check_accepted(model, base, {}, spec, space)
    except ConfigError as error:
        raise ConfigError(f"--models={model}: {error}") from error
    for flag, dimension in space.items():
        for value in dimension.ends():
            try:
                _check_accepted(model, base, {flag: value}, spec, space)
            except ConfigError as error:
                refused.append(f"{paths[flag]}: `{flag}` = {value!r}: {error}")
    if refused:
        raise ConfigError("\n".join(refused))
    return space


def _read_file(path, base: Flags) -> Iterator[tuple[str, Dimension]]:
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--spaces: {path}: {error}.") from error
    for flag, entry in _entries(path, content, base).items():
        if flag not in _FLAGS:
            raise ConfigError(
                f"{path}: `{flag}` must be a flag of the trainer's model, "
                "training or features in which trials may differ."
            )
        yield flag, _dimension(f"{path}: `{flag}`", entry, _FLAGS[flag])


def _entries(path, content, base: Flags) -> dict[str, Any]:
    """Returns a file's entries by flag, with those for the shared flags."""
    entries = {key: e for key, e in content.items() if "=" not in key}
    for key in content.keys() - entries.keys():
        table = content[key]
        try:
            shared = command.read([f"--{key}"])
        except ConfigError as error:
            raise ConfigError(f"{path}: `{key}`: {error}") from error
        if not isinstance(table, dict) or {"low", "choices"} & table.keys():
            raise ConfigError(
                f"{path}: `{key}` must be a table of entries, for trials that "
                f"share --{key}; received {table!r}."
            )
        if shared.items() <= base.items():
            entries |= table
    return entries


def _dimension(where, entry, kind) -> Dimension:
    """Returns the dimension of a file's entry, for a flag of some kind."""
    if isinstance(entry, dict) and entry.keys() == {"choices"}:
        choices = entry["choices"]
        if (
            not isinstance(choices, list)
            or not choices
            or not all(isinstance(value, Value) for value in choices)
            or not all(map(_finite, choices))
            or len({str(value) for value in choices}) < len(choices)
        ):
            raise ConfigError(
                f"{where}: `choices` must be a list of distinct finite values; "
                f"received {choices!r}."
            )
        return Dimension(choices=tuple(choices))
    if not isinstance(entry, dict) or not (
        {"low", "high"} <= entry.keys() <= {"low", "high", "log", "step"}
    ):
        raise ConfigError(
            f"{where} must have low and high, and may have log and step, or "
            f"must have only choices; received {entry!r}."
        )
    return _range(where, entry, kind)


def _range(where, entry: dict[str, Any], kind) -> Dimension:
    number = float if kind is float else int

    def rule(text, holds):
        if not holds:
            raise ConfigError(f"{where}: {text}; received {entry!r}.")

    low, high = (
        number(end) if number is float and type(end) is int else end
        for end in (entry["low"], entry["high"])
    )
    log, step = entry.get("log", False), entry.get("step", 1)
    rule(
        "must have choices, as its values are neither numbers nor lists",
        kind in (int, float, tuple[str, ...]),
    )
    rule(
        f"`low` and `high` must be of type {number.__name__}",
        type(low) is type(high) is number,
    )
    rule("`low` and `high` must be finite", _finite(low) and _finite(high))
    rule("`low` must be at most `high`", low <= high)
    rule("`log` must be true or false", type(log) is bool)
    rule("`low` must be above 0 with `log`", low > 0 or not log)
    rule("`step` must be an int of at least 1", type(step) is int and step > 0)
    rule(
        "`step` must divide the range of integers without `log`",
        step == 1 or (number is int and not log and not (high - low) % step),
    )
    return Dimension(low, high, log, step)


def _finite(value: Value) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _check_accepted(model, base, values, spec, space):
    """Checks some values of the space with the values of other flags.

    These have the values of `base` or, if the trainer refuses that, in some
    of _DRAWS combinations one of their own.

    Raises:
        ConfigError: it refuses all of them; why the first.
    """
    try:
        trial_config(model, base, values, spec)
    except ConfigError:
        random = Random(0)
        for _ in range(_DRAWS):
            others = {
                flag: dimension.drawn(random)
                for flag, dimension in space.items()
                if random.random() < 0.5
            }
            with contextlib.suppress(ConfigError):
                trial_config(model, base, others | values, spec)
                return
        raise
