"""Startup and exit codes of the programs in this folder."""

import os
from collections.abc import Callable, Sequence

from absl import flags, logging

from trainer.process import loading, program


def start(
    about: str | None,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[Sequence[str], flags.FlagValues], int],
):
    """Parses the command line, runs the program and exits.

    Must be called before Keras or TensorFlow is imported. The backend is
    always TensorFlow, whatever Keras is configured to elsewhere, and scores
    are compared on the CPU, as accelerators round float32 products.

    Args:
        about: the program's description, its module's docstring.
        define: defines the program's flags.
        run: takes the arguments and the flags; returns the exit code.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    loading.prepare()

    def main(argv, values):
        # Saving and converting log every stage.
        logging.set_verbosity(logging.ERROR)
        program.end(run(argv, values))

    program.start_interruptible(about, {"Flags": define}, main)


def exit_code(
    argv: Sequence[str], work: Callable[[], None], interrupted: str
) -> int:
    """Runs `work`, reports its error if any, and returns the exit code.

    Args:
        argv: the program's name and the positional arguments; there must be
            none of these.
        work: raises WukongError for an error that the user can fix.
        interrupted: message to print on an interrupt.
    """

    def without_arguments():
        program.refuse_arguments(argv)
        work()

    return program.exit_code(without_arguments, interrupted)
