"""Tunes models with equal budgets, each trial a run of trainer.main.

python -m trainer.tune --models=A,B --output=DIR -- FLAGS OF trainer.main

The flags after -- are those that all trials share: data, epochs, early
stopping. What is searched stands in --spaces. Trials are compared by the best
value of --early_stopping_metric on the valid rows; test rows are not read.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data, spaces or
store are invalid, or a model has no complete trial; 75 stopped by a signal,
and the same command resumes.
"""

import os
from collections.abc import Sequence

from trainer.process.stop_signal import EXIT_RESUME, STOP

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import flags  # noqa: E402

from trainer.process import program  # noqa: E402
from trainer.process.console import log  # noqa: E402
from trainer.settings import fields, shipped  # noqa: E402
from trainer.settings.tune import Tune  # noqa: E402
from trainer.tuning import plan, results, spaces  # noqa: E402
from trainer.tuning.flags import read_base  # noqa: E402
from trainer.tuning.model_study import ModelStudy, open_store  # noqa: E402
from trainer.tuning.study import locked  # noqa: E402
from trainer.tuning.tuner import Tuner  # noqa: E402
from wukong_tf import extras  # noqa: E402
from wukong_tf.errors import RunError  # noqa: E402

_ONE = "a study has one tuner, which runs --parallel trials"


def define(values: flags.FlagValues):
    """Defines the tuner's flags."""
    fields.define(Tune, values)


def tune(settings: Tune, arguments: Sequence[str]) -> int:
    """Runs a study to its end or a signal; returns the exit code.

    Args:
        settings: the tuner's settings.
        arguments: flags of the trainer that all trials share.

    Raises:
        WukongError: a flag, space or file is invalid.
    """
    extras.require("trainer.tune", "optuna")
    base = read_base(arguments)
    folder = settings.spaces or shipped.SPACES
    searched = {
        model: spaces.read(folder, model, base) for model in settings.models
    }
    made = plan.make(settings, base, searched)
    with locked(settings.output, _ONE):
        path = os.path.join(os.path.abspath(settings.output), "study.db")
        store = open_store(settings.storage or f"sqlite:///{path}")
        study_id = plan.claim(settings.output, made)
        for line in made.describe():
            log(line)
        studies = [
            ModelStudy(store, study_id, model, made)
            for model in settings.models
        ]
        finished = Tuner(made, studies).run()
        content = results.write_tables(made, studies)
        if not finished:
            log("stopped; to resume, run the same command again")
            return EXIT_RESUME
        return _choose(made, studies, content["models"])


def _choose(made, studies, models) -> int:
    """Writes the chosen flagfiles and prints how to train them."""
    lacking = []
    for study in studies:
        model = models[study.model]
        if model["best"] is None:
            lacking.append(study.model)
            continue
        best = model["trials"][model["best"]]
        print(f"{study.model}: {made.metric} {best['value']:.6g} on valid rows")
        for line in results.write_choice(made, study, model):
            print(line)
    log(f"wrote {os.path.join(made.tune.output, results.TABLES[1])}")
    if lacking:
        raise RunError(
            f"no trial of {', '.join(lacking)} ran to its end; see "
            f"{os.path.join(made.tune.output, results.TABLES[1])}."
        )
    return 0


def run(argv, values: flags.FlagValues, arguments: Sequence[str]) -> int:
    """Tunes as the flags say; returns the exit code."""

    def work():
        program.refuse_arguments(argv, program.AFTER)
        return tune(fields.from_flags(Tune, values), arguments)

    return program.exit_code(work)


def main():
    """Runs `wukong-tune`."""
    if __name__ != "__main__":
        STOP.install()
    program.start_for_trainer(__doc__, "Tuning", define, run)


if __name__ == "__main__":
    main()
