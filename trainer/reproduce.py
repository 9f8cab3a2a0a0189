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
from collections.abc import Mapping, Sequence

from absl import flags

from trainer.preparation import datasets, outputs
from trainer.preparation import settings as preparation
from trainer.preparation.settings import Prepare
from trainer.process import console, program
from trainer.process.stop_signal import SIGNALS
from trainer.report import published
from trainer.settings import command, fields
from trainer.settings.fields import setting
from wukong_tf.errors import ConfigError


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
        return fields.distinct_seeds("seeds", self.seeds)


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
    # Prepared data need no --input; it is checked below.
    source = settings.input or data
    preparing = [*head.prepare, f"--input={source}", f"--output={data}"]
    prepared = fields.from_flags(
        Prepare, command.parsed(preparing, preparation.define)
    )
    new = not os.path.exists(data)
    if new:
        if not settings.input:
            raise ConfigError(
                f"--input is required: {data} is not prepared yet."
            )
        # trainer.prepare would leave out their features.
        side_files = datasets.SIDE_FILES.get(prepared.dataset, {}).values()
        _check_input(settings.input, data, dict.fromkeys(side_files))
        code = start("trainer.prepare", preparing)
        if code:
            return code
    manifest = outputs.check(data, prepared)
    if settings.input and not new:
        console.log(f"reproduce: {data} is prepared; --input is not read again")
        read = manifest or {"inputs": []}
        entries = [*read["inputs"], *read.get("side_files", [])]
        sizes = {entry["file"]: entry["bytes"] for entry in entries}
        _check_input(settings.input, data, sizes)
    runs = []
    for seed in settings.numbers:
        runs.append(f"{run_dir}-seed-{seed}")
        more = [f"--seed={seed}", f"--run_dir={runs[-1]}"]
        code = start("trainer.main", [*trainers, *more])
        if code:
            return code
    metrics = [published.read_metrics(directory) for directory in runs]
    split, reason = split_of(data, manifest)
    print(published.table(head.published, metrics, own.model.model, split))
    if reason:
        print(f"\n{split}: {reason}")
    return 0


def _check_input(folder, data, sizes):
    """Raises ConfigError unless `folder` has files of these sizes, if any."""
    paths = {name: os.path.join(folder, name) for name in sizes}
    missing = [name for name, path in paths.items() if not os.path.isfile(path)]
    if missing:
        raise ConfigError(
            f"--input={folder} must have the files of {data}; received none "
            f"named {', '.join(missing)}. Prepared data need no --input."
        )
    for name, wanted in sizes.items():
        size = os.path.getsize(paths[name])
        if wanted is not None and size != wanted:
            raise ConfigError(
                f"--input={folder}: {name} must have the {wanted:,} bytes from "
                f"which {data} was prepared; received {size:,}. Remove {data}, "
                "or give another --data_dir."
            )


def split_of(data: str, manifest: Mapping | None) -> tuple[str, str]:
    """Returns the runs' cell of "split", and the reason unless it is "same".

    Args:
        data: the directory of the data.
        manifest: its manifest; None if it has none.
    """
    if manifest is None:
        return "not known", f"{data} has no manifest of trainer.prepare"
    for is_it, cell, reason in (
        (False, "other files", "the published MD5 is not that of"),
        (None, "not known", "no MD5 is published of"),
    ):
        names = [
            entry["file"]
            for entry in manifest["inputs"]
            if entry["published"] is is_it
        ]
        if names:
            return cell, f"{reason} {', '.join(names)}"
    return "same", ""


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
