"""Runs programs in this process, each with flags of its own."""

from absl import flags

from export import flags as export_flags
from export import rollout, score, serve
from trainer import (
    compare,
    example_log,
    info,
    launch,
    prepare,
    reproduce,
    scaling,
    tune,
)

# Functions that define the flags of each program but trainer.main.
DEFINES = {
    "export.main": export_flags.define,
    **{
        module.__name__: module.define
        for module in (
            *(rollout, score, serve, compare, example_log, info),
            *(launch, prepare, reproduce, scaling, tune),
        )
    },
}


def call(module, *arguments, define=None, trainers=None) -> int:
    """Returns the exit code of a program.

    Args:
        module: has `run`, and `define` unless that is given.
        *arguments: its command line.
        define: defines its flags. Defaults to None, `module.define`.
        trainers: flags of the trainer, for a program that starts it.
    """
    values = flags.FlagValues()
    (define or module.define)(values)
    argv = values(["program", *map(str, arguments)])
    return module.run(argv, values, *([] if trainers is None else [trainers]))
