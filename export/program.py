"""How the programs of this folder start, and what their exit codes are."""

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags, logging

from trainer import console, program
from trainer.program import EXIT_ERROR
from trainer.stop_signal import interrupt_once
from wukong_tf.errors import ConfigError, WukongError

EXIT_INTERRUPTED = 130


def start(
    about: str | None,
    define: Callable[[flags.FlagValues], None],
    run: Callable[[Sequence[str], flags.FlagValues], int],
):
    """Parses the command line, runs and exits.

    Nothing has imported Keras or TensorFlow yet. What is published is
    TensorFlow's, whatever Keras is set to elsewhere, and scores are held to
    each other on the CPU: accelerators round float32 products.

    Args:
        about: its description, the module's docstring.
        define: defines the program's flags.
        run: takes the arguments and the flags; returns the exit code.
    """
    interrupt_once()
    console.guard()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    program.quiet_tensorflow()

    def main(argv):
        # Saving and converting log each of their stages.
        logging.set_verbosity(logging.ERROR)
        sys.exit(run(argv, flags.FLAGS))

    try:
        program.start(about, {"Flags": define}, main)
    except KeyboardInterrupt:  # before the work began
        sys.exit(EXIT_INTERRUPTED)


def exit_code(
    argv: Sequence[str], work: Callable[[], object], interrupted: str
) -> int:
    """Does the work; returns the exit code, with an error told.

    Args:
        argv: the program's name and what is no flag, of which there may be
            nothing.
        work: raises WukongError for what the user can mend.
        interrupted: what to say on an interrupt.
    """
    try:
        if len(argv) > 1:
            raise ConfigError(f"unexpected arguments: {list(argv[1:])}.")
        work()
    except WukongError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
