"""Speed and memory: `python -m benchmarks.NAME` prints one JSON line."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_program(main: Callable[[list[str]], object]) -> NoReturn:
    """Runs the benchmark that this process was started for, and exits.

    Args:
        main: takes the command line, whose flags are parsed.
    """
    from absl import flags

    from trainer.process import program

    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tfrs needs it
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    own = flags.FLAGS.get_flags_for_module(sys.argv[0])
    program.start_defined(
        sys.modules["__main__"].__doc__,
        {"Benchmark": [flag.name for flag in own]},
        main,
    )
