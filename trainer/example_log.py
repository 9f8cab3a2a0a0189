"""Writes the raw log of the tutorial: `python -m trainer.example_log --help`.

A CSV file for each day of a shop's clicks, the last one without labels too,
as tomorrow.csv. Exit codes: 0 done; 1 a fault in the program; 2 a flag is
invalid, or nothing can be written.
"""

import dataclasses

from absl import flags

from trainer.preparation import example_rows
from trainer.process import program
from trainer.settings import fields
from trainer.settings.fields import Settings, setting
from wukong_tf.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class ExampleLog(Settings):
    """Example log."""

    output: str = setting(
        None, "Directory to create. Must not exist. Required.", needed=True
    )
    rows: int = setting(20_000, "Rows per day.", minimum=100)
    seed: int = setting(0, "Seed of the log.", minimum=0)


def define(values: flags.FlagValues):
    """Defines the flags of the log."""
    fields.define(ExampleLog, values)


def write(settings: ExampleLog):
    """Writes the log, and prints the names of its files.

    Raises:
        ConfigError: --output exists.
        DataError: it cannot be written.
    """
    try:
        paths = example_rows.write(
            settings.output, settings.rows, settings.seed
        )
    except FileExistsError as error:
        raise ConfigError(
            f"--output={settings.output} already exists and is not "
            "overwritten. Choose another, or remove it."
        ) from error
    except OSError as error:
        raise DataError(
            f"--output={settings.output} cannot be written: {error}."
        ) from error
    for path in paths:
        print(f"wrote {path}: {settings.rows:,} rows")


def run(argv, values: flags.FlagValues) -> int:
    """Writes the log that the flags describe; returns the exit code."""

    def work():
        program.refuse_arguments(argv)
        write(fields.from_flags(ExampleLog, values))

    return program.exit_code(work)


def main():
    """Runs `python -m trainer.example_log`."""
    program.start(__doc__, {"Example log": define}, run)


if __name__ == "__main__":
    main()
