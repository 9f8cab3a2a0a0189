"""Command lines of the trainer, for programs that start it."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import flags

from trainer import settings
from trainer.settings import fields
from wukong_tf.errors import ConfigError, WukongError, one_line


def read(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the flags that are given, such as {"seed": "--seed=1"}.

    Flagfiles are expanded; flags are in the order of their definition.

    Args:
        arguments: a command line without the program.

    Raises:
        ConfigError: a flag is unknown or cannot be parsed.
    """
    values = _parsed(arguments)
    return {
        field.name: values[field.name].serialize()
        for section in settings.SECTIONS.values()
        for field, _ in fields.settings_of(section)
        if values[field.name].present
    }


def check(arguments: Iterable[str]) -> settings.Settings:
    """Returns the settings of a command line.

    Raises:
        ConfigError: a flag is invalid.
    """
    return settings.Settings.from_flags(_parsed(list(arguments)))


def run(
    cls: type,
    work: Callable[[Any, Sequence[str]], int],
    argv: Sequence[str],
    values: flags.FlagValues,
    arguments: Sequence[str],
) -> int:
    """Runs a program that starts the trainer; returns its exit code.

    An invalid flag or file is printed as one line, and the code is then 2.

    Args:
        cls: dataclass of the program's own settings.
        work: takes them and the trainer's flags; returns the exit code.
        argv: arguments that are not flags, the program first.
        values: the program's own flags.
        arguments: the trainer's flags.
    """
    try:
        if len(argv) > 1:
            raise ConfigError(
                f"unexpected arguments {argv[1:]}; the trainer's flags come "
                "after --."
            )
        return work(fields.from_flags(cls, values), arguments)
    except (WukongError, OSError) as error:  # an OSError's text names a file
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parsed(arguments):
    values = flags.FlagValues()
    settings.define(values)
    try:
        rest = values(["trainer.main", *arguments])
    except flags.Error as error:
        raise ConfigError(one_line(error)) from error
    if len(rest) > 1:
        raise ConfigError(f"unexpected arguments: {rest[1:]}.")
    return values
