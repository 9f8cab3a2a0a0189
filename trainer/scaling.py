"""Measures how the loss of models falls with their size, and fits a law.

python -m trainer.scaling --models=A,B --output=DIR -- FLAGS OF trainer.main
python -m trainer.scaling --results=FILE,... --output=DIR

The first form trains a ladder: every rung of every model in one pass over the
same rows, with several seeds, at the best of a few learning rates. The flags
after -- are those that all runs share: data, batch size, schedule. The second
draws tables and plots of results again, without training.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data or results are
invalid, or runs failed; 75 stopped by a signal, and the same command resumes.
"""

import dataclasses
import os
from collections.abc import Sequence

from trainer.process.stop_signal import EXIT_RESUME, STOP

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import flags  # noqa: E402

from trainer.process import program  # noqa: E402
from trainer.process.console import log  # noqa: E402
from trainer.report.files import plain
from trainer.scaling_law import (  # noqa: E402
    analysis,
    ladder,
    plan,
    plots,
    results_file,
    runner,
    tables,
)
from trainer.settings import fields  # noqa: E402
from trainer.settings.scaling import Scaling  # noqa: E402
from trainer.tuning.flags import read_base  # noqa: E402
from trainer.tuning.study import locked, make_output  # noqa: E402
from wukong_tf import extras, files  # noqa: E402
from wukong_tf.errors import ConfigError  # noqa: E402

PAGE, FITS = "scaling.md", "scaling.json"
_ONE = "a ladder has one program; others may train other --rungs elsewhere"


def define(values: flags.FlagValues):
    """Defines the program's own flags."""
    fields.define(Scaling, values)


def scale(settings: Scaling, arguments: Sequence[str]) -> int:
    """Trains, or with --results only draws; returns the exit code.

    Args:
        settings: the program's settings.
        arguments: flags of the trainer that all runs share.

    Raises:
        WukongError: a flag or file is invalid, or runs failed.
    """
    if settings.results is None:
        return train(settings, arguments)
    if arguments:
        raise ConfigError(
            "--results trains nothing; flags of the trainer contradict it: "
            f"{' '.join(arguments)}."
        )
    draw(settings, settings.results)
    return 0


def draw(settings: Scaling, paths: Sequence[str]) -> None:
    """Writes the page, fits and plots of files of results to --output.

    Raises:
        DataError: a file is invalid or two contradict each other.
    """
    study, searches, runs = results_file.merged(paths)
    analyses = analysis.analyse(runs, settings.resamples)
    make_output(settings.output)
    page = os.path.join(settings.output, PAGE)
    files.write_text(page, tables.markdown(study, searches, runs, analyses))
    files.write_json(
        os.path.join(settings.output, FITS),
        plain({each.model: dataclasses.asdict(each) for each in analyses}),
    )
    if settings.plots and not extras.lack("matplotlib.figure"):
        for name, content in plots.pages(runs, analyses):
            path = os.path.join(settings.output, f"{name}.png")
            files.write_bytes(path, content)
    log(f"wrote {page}")


def train(settings: Scaling, arguments: Sequence[str]) -> int:
    """Trains a ladder to its end or a signal; returns the exit code.

    Args:
        settings: settings of the ladder.
        arguments: flags of the trainer that all runs share.

    Raises:
        WukongError: a flag or file is invalid, or runs failed.
    """
    base = read_base(arguments)
    rungs = ladder.make(settings, base)
    made = plan.make(settings, base)
    results = os.path.join(settings.output, results_file.RESULTS)
    if settings.plan:
        before = runner.Runner(settings, made)
        before.check_sizes(rungs)
        lines = plan.describe(
            made, settings, rungs, before.searches, before.done
        )
        print("\n".join(lines))
        return 0
    with locked(settings.output, _ONE):
        running = runner.Runner(settings, made)
        running.check_sizes(rungs)
        for line in plan.describe(
            made, settings, rungs, running.searches, running.done
        ):
            log(line)
        try:
            running.run(rungs)
        except runner.Stopped:
            log("stopped; to resume, run the same command again")
            return EXIT_RESUME
        finally:
            if running.done:
                draw(settings, [results])
    return 0


def run(argv, values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Trains or draws as the flags say; returns the exit code."""

    def work():
        program.refuse_arguments(argv, program.AFTER)
        return scale(fields.from_flags(Scaling, values), arguments)

    return program.exit_code(work)


def main():
    """Runs `wukong-scaling`."""
    if __name__ != "__main__":
        STOP.install()
    program.start_for_trainer(__doc__, "Scaling", define, run)


if __name__ == "__main__":
    main()
