"""Compares trained runs on their held-out rows.

    python -m trainer.compare runs/a runs/b runs/b_seed1 --output=comparison

Scores the rows that all runs held out with each run's best checkpoint, and
writes index.html, a self-contained page, and comparison.json: the metrics of
each run, their mean and deviation over runs that differ only by --seed, and
the differences to the first run, with 95% intervals by a paired bootstrap of
the rows, or of their groups if the feature spec names a group column. Runs
that held out different rows are refused.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, a run or its rows
break a rule.
"""

import functools
import os

from absl import flags

from trainer.process import loading, program
from trainer.settings import fields
from trainer.settings.compare import Compare
from wukong_tf import runs
from wukong_tf.errors import ConfigError

define = functools.partial(fields.define, Compare)


def run(argv, values: flags.FlagValues) -> int:
    """Compares the runs that are named; returns the exit code."""

    def work():
        settings = fields.from_flags(Compare, values)
        if len(argv) < 3:
            raise ConfigError(
                "two or more run directories are required; received "
                f"{argv[1:]}."
            )
        for path in argv[1:]:
            runs.check_run(path)
        # Loads TensorFlow.
        from trainer.comparison.compare import compare

        compare(argv[1:], settings)

    return program.exit_code(work, "interrupted; nothing was written")


def main():
    """Runs `wukong-compare`."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    loading.prepare()
    program.start_interruptible(__doc__, {"Comparison": define}, run)


if __name__ == "__main__":
    main()
