"""Runs the trainer's command line in this process."""

from absl import flags
from absl.testing import flagsaver

from trainer import flags as trainer_flags
from trainer import main


def run(*args: str) -> int:
    """The exit code of `python -m trainer.main ARGS`."""
    values = flags.FLAGS
    if "run_dir" not in values:
        trainer_flags.define()
    with flagsaver.flagsaver():
        values(["trainer.main", *args])
        return main.run(["trainer.main"])


def arguments(**options) -> list[str]:
    """`--name=value` for each option; lists are joined by commas."""
    result = []
    for name, value in options.items():
        if isinstance(value, bool):
            result.append(f"--{name}" if value else f"--no{name}")
            continue
        if isinstance(value, list | tuple):
            value = ",".join(str(item) for item in value)
        result.append(f"--{name}={value}")
    return result
