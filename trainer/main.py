"""Trains, evaluates, predicts or plans: `python -m trainer.main --help`.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data or run
directory are invalid, a file cannot be read or written, or memory ran out; 69
another worker was lost; 75 stopped by a signal after saving. After the last
two the same command resumes.
"""

import os
import shlex
import sys
import time

from trainer.process.stop_signal import EXIT_RESUME, STOP

BEGAN = time.perf_counter()

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import flags  # noqa: E402

from trainer import settings  # noqa: E402
from trainer.process import console, loading, program  # noqa: E402
from trainer.process.program import EXIT_LOST  # noqa: E402
from trainer.settings import Settings  # noqa: E402

loading.prepare()  # before anything imports TensorFlow


def _run_mode(settings: Settings) -> int:
    """Runs the chosen mode; returns the exit code."""
    from trainer.modes import early

    start = loading.Stopwatch(BEGAN)
    early.check(settings)
    loading.load_tensorflow()
    match settings.run.mode:
        case "train":
            from trainer.modes.train import run_training

            if not run_training(settings, start):
                command = "python -m trainer.main " + shlex.join(sys.argv[1:])
                console.log(
                    f"stopped and saved; to resume, run again: {command}"
                )
                return EXIT_RESUME
        case "eval":
            from trainer.modes.evaluate import run_evaluation

            run_evaluation(settings)
        case "predict":
            from trainer.modes.predict import run_prediction

            run_prediction(settings)
        case "plan":
            from trainer.modes.plan import run_plan

            run_plan(settings)
    return 0


def run(argv) -> int:
    """Runs the flags' mode; returns the exit code."""

    def work():
        program.refuse_arguments(argv)
        return _run_mode(Settings.from_flags(flags.FLAGS))

    return program.exit_code(work)


def main():
    """Runs `wukong-train`."""
    if __name__ != "__main__":
        STOP.install()
    program.start(__doc__, settings.GROUPS, lambda argv, _: _exit(run(argv)))


def _exit(code):
    STOP.settle()
    if code == EXIT_LOST:
        # An orderly exit would wait for the lost worker.
        console.drain()
        os._exit(code)
    if "TF_CONFIG" in os.environ:  # workers take leave of each other
        sys.exit(code)
    program.end(code)


if __name__ == "__main__":
    main()
