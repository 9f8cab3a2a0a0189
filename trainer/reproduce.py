"""Reproduces published figures: `python -m trainer.reproduce --help`.

python -m trainer.reproduce --experiment=configs/NAME.flags --input=DIR -- FLAGS

Prepares the data set that the flagfile's head names, unless that is done,
trains a run for each seed, by the flagfile and by FLAGS of trainer.main, and
prints a table of their metrics on test rows next to the head's published
ones. Exit codes are those of trainer.prepare and trainer.main, which it runs
one after the other; the same command resumes after a stop.
"""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

from absl import flags

from trainer import console, program
from trainer.preparation import outputs
from trainer.report import published
from trainer.settings import command, fields
from trainer.settings.fields import setting
from trainer.stop_signal import SIGNALS
from wukong_tf.errors import ConfigError

# The runs' cell of "split" if their files are not known to be the published.
_OTHER = "other files"


@dataclasses.dataclass(frozen=True)
class Reproduce(fields.Settings):
    """Reproduction."""

    experiment: str = setting(
        None,
        "Flagfile of trainer.main whose head names a data set and published "
        "figures, such as configs/criteo_x4.flags. Required.",
        needed=True,
    )
    input: str | None = setting(
        None,
        "Directory of the data set's own files. Default: none, if the "
        "flagfile's --data_dir exists, which is then used as it is.",
    )
    seeds: tuple[str, ...] = setting(
        ("1",),
        "Seeds, comma-separated; each gives a run, RUN_DIR-seed-SEED.",
    )

    def __post_init__(self):
        super().__post_init__()
        self.numbers  # noqa: B018  raises early if invalid

    @property
    def numbers(self) -> list[int]:
        """The seeds as numbers.

        Raises:
            ConfigError: one is not an integer of at least 0, or comes twice.
        """
        return fields.distinct_integers("seeds", self.seeds)


def define(values: flags.FlagValues):
    """Defines the program's own flags."""
    fields.define(Reproduce, values)


def start(module: str, arguments: Sequence[str]) -> int:
    """Runs `python -m MODULE ARGUMENTS`; returns its exit code.

    Signals that ask this program to stop are passed on to that one.
    """
    words = [sys.executable, "-m", module, *arguments]
    console.log(f"reproduce: python -m {module} {shlex.join(arguments)}")
    console.drain()
    with subprocess.Popen(words) as process:
        before = {
            number: signal.signal(
                number, lambda got, frame: process.send_signal(got)
            )
            for number in SIGNALS
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def reproduce(settings: Reproduce, arguments: Sequence[str] = ()) -> int:
    """Prepares, trains a run for each seed and prints the table.

    Args:
        settings: settings of the reproduction.
        arguments: further flags of trainer.main. Defaults to none.

    Returns:
        The exit code of the first program that failed, or 0.

    Raises:
        ConfigError: the flagfile or the flags are invalid.
        RunError: a run has no metrics on test rows.
    """
    head = published.read_head(settings.experiment)
    trainers = [f"--flagfile={settings.experiment}", *arguments]
    own = command.check(trainers)
    data, run_dir = own.data.data_dir, own.run.directory
    if not data:
        raise ConfigError(f"--experiment={settings.experiment}: no --data_dir.")
    if not os.path.exists(data):
        if not settings.input:
            raise ConfigError(
                f"--input is required: {data} is not prepared yet."
            )
        paths = [f"--input={settings.input}", f"--output={data}"]
        code = start("trainer.prepare", [*head.prepare, *paths])
        if code:
            return code
    elif settings.input:
        _check_input(settings.input, data)
    runs = []
    for seed in settings.numbers:
        runs.append(f"{run_dir}-seed-{seed}")
        more = [f"--seed={seed}", f"--run_dir={runs[-1]}"]
        code = start("trainer.main", [*trainers, *more])
        if code:
            return code
    metrics = [published.read_metrics(directory) for directory in runs]
    files = outputs.inputs_of(data)
    split = "same" if all(f["published"] for f in files) else _OTHER
    print(published.table(head.published, metrics, own.model.model, split))
    return 0


def _check_input(folder: str, data: str):
    """Raises ConfigError if data were prepared from files of other sizes."""
    console.log(f"reproduce: {data} is prepared; --input is not read again")
    for entry in outputs.inputs_of(data):
        path = os.path.join(folder, entry["file"])
        if not os.path.exists(path):
            continue  # it may have been removed since
        size = os.path.getsize(path)
        if size != entry["bytes"]:
            raise ConfigError(
                f"--input={folder}: {entry['file']} must have the "
                f"{entry['bytes']:,} bytes from which {data} was prepared; "
                f"received {size:,}. Remove {data}, or give another --data_dir."
            )


def run(argv, values: flags.FlagValues, arguments: Sequence[str] = ()) -> int:
    """Reproduces what the flags name; returns the exit code."""

    def work():
        program.refuse_arguments(argv, program.AFTER)
        return reproduce(fields.from_flags(Reproduce, values), arguments)

    return program.exit_code(work)


def main():
    """Runs `wukong-reproduce`."""
    program.start_for_trainer(__doc__, "Reproduction", define, run)


if __name__ == "__main__":
    main()
