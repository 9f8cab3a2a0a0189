"""Runs the trainer's command line in this process."""

import contextlib
from unittest import mock

from absl import flags
from absl.testing import flagsaver

from trainer import main
from trainer import settings as trainer_settings
from trainer.report import plots


def run(*args: str, pictures: bool = False) -> int:
    """The exit code of `python -m trainer.main ARGS`.

    Args:
        *args: flags.
        pictures: whether the report's pictures are drawn, which takes longer
            than a small run does. Defaults to False: each is empty.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(parsed(*args))
        if not pictures:
            stack.enter_context(
                mock.patch.object(plots, "render", return_value=b"")
            )
        return main.run(["trainer.main"])


@contextlib.contextmanager
def parsed(*args: str):
    """The trainer's flags, set as `args` say until the block ends."""
    if "run_dir" not in flags.FLAGS:
        trainer_settings.define(flags.FLAGS)
    with flagsaver.flagsaver():
        flags.FLAGS(["trainer.main", *args])
        yield flags.FLAGS


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
