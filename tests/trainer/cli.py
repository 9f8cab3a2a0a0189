"""Runs the trainer's command line in this process."""

import contextlib
from unittest import mock

from absl import flags
from absl.testing import flagsaver

from trainer import main
from trainer import settings as trainer_settings

# A Wukong that is built in a second.
SIZES = {
    "embedding_dim": 4,
    "num_layers": 1,
    "num_fmb": 4,
    "num_lcb": 4,
    "rank": 2,
    "mlp_units": 8,
    "head_units": 8,
    "bottom_mlp_units": 8,
}


def run(*args: str, pictures: bool = False) -> int:
    """Runs `python -m trainer.main ARGS`; returns its exit code.

    Args:
        *args: flags.
        pictures: whether to draw the report's pictures and, unless
            --importance_rows says otherwise, to measure the importance of
            features, which take longer than a small run. Defaults to False.
    """
    left_out = {"plots.render": b"", "importance.rows_by_default": 0}
    with contextlib.ExitStack() as stack:
        stack.enter_context(parsed(*args))
        for name, value in ({} if pictures else left_out).items():
            stack.enter_context(
                mock.patch(f"trainer.report.{name}", return_value=value)
            )
        return main.run(["trainer.main"])


@contextlib.contextmanager
def parsed(*args: str):
    """Parses `args` as the trainer's flags, for the block."""
    if "run_dir" not in flags.FLAGS:
        trainer_settings.define(flags.FLAGS)
    with flagsaver.flagsaver():
        flags.FLAGS(["trainer.main", *args])
        yield flags.FLAGS


def arguments(**options) -> list[str]:
    """Returns `--name=value` for each option; joins lists by commas."""
    result = []
    for name, value in options.items():
        if isinstance(value, bool):
            result.append(f"--{name}" if value else f"--no{name}")
            continue
        if isinstance(value, list | tuple):
            value = ",".join(str(item) for item in value)
        result.append(f"--{name}={value}")
    return result
