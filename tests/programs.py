"""Runs programs in this process, each with flags of its own."""

from absl import flags


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
