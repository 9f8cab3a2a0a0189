"""Starts programs: flags in groups, --help, --version and exit codes."""

import atexit
import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from absl import app, flags

from trainer.placement import host_memory
from trainer.process import console
from trainer.process.stop_signal import STOP, interrupt_once
from wukong_tf import __version__
from wukong_tf.errors import ConfigError, LostWorkerError, WukongError

EXIT_ERROR = 2
EXIT_LOST = 69  # sysexits' EX_UNAVAILABLE
EXIT_INTERRUPTED = 130
# How libraries say that the system refused space on a disk, or memory, an
# address range or a thread, whatever the type of their error.
_NO_SPACE = re.compile("No space left on device|Disk quota exceeded")
_NO_MEMORY = re.compile(
    "std::bad_alloc|[Cc]annot allocate memory|failed to map segment"
    "|can't start new thread|OOM when allocating|Out of memory"
)
AFTER = "; the trainer's flags come after --"
_HELP = {"--help", "-help", "--helpshort", "--helpfull", "-h", "-?"}
_WIDTH = 78

Define = Callable[[flags.FlagValues], None]


def start(
    about: str | None,
    groups: Mapping[str, Define],
    run: Callable[[list[str], flags.FlagValues], object],
    argv: list[str] | None = None,
) -> NoReturn:
    """Parses the command line into `absl.flags.FLAGS`, runs, and exits.

    --help and --version print to standard output and exit with 0; an unknown
    or invalid flag exits with 2.

    Args:
        about: the program's description, its module's docstring.
        groups: functions that define flags, by the title of their group.
        run: takes the arguments that are not flags, the program first, and
            the flags; returns the exit code.
        argv: the command line. Defaults to None, `sys.argv`.
    """
    console.guard()
    values = flags.FLAGS
    names: dict[str, list[str]] = {}
    for title, define in groups.items():
        before = set(values)
        define(values)
        names[title] = [n for n in _in_order(values) if n not in before]
    start_defined(about, names, lambda rest: run(rest, values), argv)


def start_defined(
    about: str | None,
    names: Mapping[str, Sequence[str]],
    run: Callable[[list[str]], object],
    argv: list[str] | None = None,
) -> NoReturn:
    """Starts a program whose flags are defined in `absl.flags.FLAGS`.

    Args:
        about: the program's description, its module's docstring.
        names: names of its flags, by the title of their group.
        run: takes the arguments that are not flags, the program first, and
            returns the exit code.
        argv: as in `start`.
    """
    values = flags.FLAGS

    def parse(arguments):
        given = {text for text in arguments[1:] if text.startswith("-")}
        if given & _HELP:
            print(describe(about, names, values))
        elif "--version" in given:
            print(f"wukong_tf {__version__}")
        else:
            try:
                return values(arguments)
            except flags.Error as error:
                message = " ".join(str(error).split())
                print(f"error: {message} See --help.", file=sys.stderr)
                sys.exit(EXIT_ERROR)
        sys.exit(0)

    app.run(run, argv=argv, flags_parser=parse)
    sys.exit(0)


def start_interruptible(
    about: str | None,
    groups: Mapping[str, Define],
    run: Callable[[list[str], flags.FlagValues], object],
) -> NoReturn:
    """Starts a program that SIGINT ends with 130.

    Args are those of `start`.
    """
    interrupt_once()
    try:
        start(about, groups, run)
    except KeyboardInterrupt:  # before the work began
        sys.exit(EXIT_INTERRUPTED)


def start_for_trainer(
    about: str | None,
    title: str,
    define: Define,
    run: Callable[[list[str], flags.FlagValues, list[str]], int],
) -> NoReturn:
    """Starts a program that starts the trainer, whose flags come after --.

    Args:
        about: the program's description, its module's docstring.
        title: title of its own flags.
        define: defines them.
        run: takes the arguments that are not flags, the program first, the
            program's flags and the trainer's; returns the exit code.
    """
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    trainers = sys.argv[place + 1 :]

    def begin(argv, values):
        code = run(argv, values, trainers)
        STOP.settle()
        sys.exit(code)

    start(about, {title: define}, begin, argv=sys.argv[:place])


def exit_code(
    work: Callable[[], int | None], interrupted: str | None = None
) -> int:
    """Calls `work` and returns the program's exit code.

    An error that the user can fix is printed as one line: a WukongError, an
    OSError, whose text names a file, or the system's refusal of memory.

    Args:
        work: returns the exit code, or None for 0.
        interrupted: printed on an interrupt, with the code 130. Defaults to
            None, which passes the KeyboardInterrupt on.

    Raises:
        Exception: any other error is a fault in the program.
    """
    try:
        return work() or 0
    except KeyboardInterrupt:
        if interrupted is None:
            raise
        print(interrupted, file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        text = _explained(error)
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return EXIT_LOST if isinstance(error, LostWorkerError) else EXIT_ERROR


def refuse_arguments(argv: Sequence[str], advice: str = "") -> None:
    """Raises ConfigError if arguments other than flags were passed.

    Args:
        argv: arguments that are not flags, the program first.
        advice: ends the error's text. Defaults to "".
    """
    if len(argv) > 1:
        raise ConfigError(f"unexpected arguments: {list(argv[1:])}{advice}.")


def _explained(error):
    """Returns the text of an error that the user can fix, otherwise None."""
    if isinstance(error, WukongError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines()]
    for line in lines:
        if _NO_SPACE.search(line):
            return line
        if _NO_MEMORY.search(line):
            break
    else:
        if isinstance(error, OSError):
            return str(error)
        if not isinstance(error, MemoryError):
            return None
        line = " ".join(lines) or type(error).__name__
    left = host_memory.describe()
    return f"out of memory on this machine: {line.rstrip('.')}. {left}"


def end(code: int) -> NoReturn:
    """Ends the process with `code`, without tearing the interpreter down.

    Functions registered with atexit run; then the system frees what
    TensorFlow and Python would take a second to. Threads are not waited for.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _in_order(values):
    """Returns names of flags in the order of their definition."""
    return values._flags()  # a dict; iterating FlagValues sorts the names


def describe(
    about: str | None,
    groups: Mapping[str, Sequence[str]],
    values: flags.FlagValues,
) -> str:
    """Returns the text of --help.

    Args:
        about: the program's description.
        groups: names of flags by the title of their group.
        values: holds the flags.
    """
    lines = [(about or "").strip()]
    for title, names in groups.items():
        lines += ["", f"{title}:"]
        for name in names:
            lines += described(values[name])
    lines += ["", "Every program:"]
    for form, text in (
        ("--flagfile=FILE", "Reads flags from a file, one a line."),
        ("--help", "Prints this text."),
        ("--version", "Prints the version."),
    ):
        lines += [f"  {form}", f"      {text}"]
    return "\n".join(lines)


def described(flag) -> list[str]:
    """Returns the lines of --help on one flag."""
    text = " ".join(flag.help.split())
    if flag.boolean:
        form = f"--[no]{flag.name}"
    else:
        kind = flag.flag_type().removeprefix("comma separated list of strings")
        choices = getattr(flag.parser, "enum_values", ())
        value = "|".join(choices) if choices else kind.upper() or "A,B,..."
        text = text.removeprefix(f"<{value}>: ")
        if len(value) > _WIDTH // 2:
            value = "NAME"
            text += f" One of {', '.join(choices)}."
        form = f"--{flag.name}={value}"
    if not text.endswith("."):  # absl adds how to repeat a flag
        text += "."
    if flag.default is not None and not re.search("Default:|Required", text):
        default = flag.default
        if isinstance(default, list):
            default = ",".join(default)
        elif isinstance(default, bool):
            default = str(default).lower()
        text += f" Default: {default}." if default != "" else " Default: none."
    return [
        f"  {form}",
        *textwrap.wrap(
            text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6
        ),
    ]
