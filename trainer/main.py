"""Trains, evaluates, scores or plans: `python -m trainer.main --help`.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data or run
directory break a rule, or a file cannot be read or written; 69 another worker
was lost; 75 stopped by a signal, what was trained saved. After the last two
the same command goes on.
"""

import os
import shlex
import sys

from trainer.stop_signal import EXIT_RESUME, STOP

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import app  # noqa: E402
from absl import flags as absl_flags  # noqa: E402

from trainer import console, flags  # noqa: E402
from wukong_tf.errors import LostWorkerError, WukongError  # noqa: E402

EXIT_ERROR = 2
EXIT_LOST = 69  # sysexits' EX_UNAVAILABLE

# The table lookup needs TensorFlow's own Keras to be version 2; `import
# keras` is Keras 3 all the same. Nothing here imports TensorFlow before.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def train(values) -> int:
    """--mode=train."""
    from trainer.modes.train import run_training

    if run_training(values):
        return 0
    command = "python -m trainer.main " + shlex.join(sys.argv[1:])
    console.log(f"stopped and saved; to go on, run again: {command}")
    return EXIT_RESUME


def evaluate(values) -> int:
    """--mode=eval."""
    from trainer.modes.evaluate import run_evaluation

    run_evaluation(values)
    return 0


def predict(values) -> int:
    """--mode=predict."""
    from trainer.modes.predict import run_prediction

    run_prediction(values)
    return 0


def plan(values) -> int:
    """--mode=plan."""
    from trainer.modes.plan import run_plan

    run_plan(values)
    return 0


MODES = {"train": train, "eval": evaluate, "predict": predict, "plan": plan}


def run(argv) -> int:
    """Runs the mode that the flags choose; returns the exit code."""
    from trainer.run_config import check_flags

    values = absl_flags.FLAGS
    try:
        if len(argv) > 1:
            raise WukongError(f"unexpected arguments: {argv[1:]}.")
        check_flags(values)
        return MODES[values.mode](values)
    except LostWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_LOST
    except (WukongError, OSError) as error:  # an OSError names its file
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


def main():
    """Entry point of `wukong-train`."""
    if __name__ != "__main__":
        STOP.install()
    console.guard()
    flags.define()
    values = absl_flags.FLAGS
    for flag in values.flags_by_module_dict()[flags.__name__]:
        # --help shows those of the program that was started.
        values.register_key_flag_for_module(sys.argv[0], flag)
    app.run(lambda argv: _exit(run(argv)))


def _exit(code):
    STOP.settle()
    if code == EXIT_LOST:
        # An end in order would wait for the worker that is gone.
        console.drain()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
