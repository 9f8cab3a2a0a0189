"""Command lines of the trainer, for programs that start it."""

from collections.abc import Callable, Iterable, Sequence

from absl import flags

from trainer import settings
from trainer.settings import fields
from wukong_tf.errors import ConfigError, one_line


def read(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the flags that are given, such as {"seed": "--seed=1"}.

    Flagfiles are expanded; flags are in the order of their definition.

    Args:
        arguments: a command line without the program.

    Raises:
        ConfigError: a flag is unknown or cannot be parsed.
    """
    values = parsed(arguments)
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
    return settings.Settings.from_flags(parsed(list(arguments)))


def parsed(
    arguments: Sequence[str],
    define: Callable[[flags.FlagValues], None] = settings.define,
) -> flags.FlagValues:
    """Returns the parsed flags of a command line.

    Args:
        arguments: a command line without the program.
        define: defines the program's flags. Defaults to trainer.main's.

    Raises:
        ConfigError: a flag is unknown or cannot be parsed.
    """
    values = flags.FlagValues()
    define(values)
    try:
        rest = values(["", *arguments])
    except flags.Error as error:
        raise ConfigError(one_line(error)) from error
    if len(rest) > 1:
        raise ConfigError(f"unexpected arguments: {rest[1:]}.")
    return values
