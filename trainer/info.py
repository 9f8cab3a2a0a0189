"""Prints what is installed, and where: `python -m trainer.info --help`.

Exit codes: 0 done; 1 a fault in the program; 2 a flag is invalid.
"""

import dataclasses
import os
import platform
import shlex
import sys
from importlib import metadata
from typing import Literal

from absl import flags

from trainer.process import program
from trainer.settings import fields, shipped
from trainer.settings.fields import Settings, setting
from wukong_tf import extras

PATHS = {"configs": shipped.CONFIGS, "completion": shipped.COMPLETION}
_NEEDED = ("tensorflow", "keras", "tensorflow-recommenders", "onnxruntime")


@dataclasses.dataclass(frozen=True)
class Info(Settings):
    """Installation."""

    show: Literal["all", "configs", "completion"] = setting(
        "all",
        "configs: print only the directory of the shipped flagfiles. "
        "completion: print only the path of the script that completes flags "
        "in bash. all: print both, the versions and the optional packages.",
    )


def define(values: flags.FlagValues):
    """Defines the program's flags."""
    fields.define(Info, values)


def describe() -> list[str]:
    """Returns the lines of `--show=all`."""
    lines = [
        f"wukong_tf {program.__version__} in {os.path.dirname(shipped.FOLDER)}",
        f"Python {platform.python_version()}: {sys.executable}",
        *(f"{name} {_version(name) or 'is missing'}" for name in _NEEDED),
        f"flagfiles: {PATHS['configs']}",
        *(f"  {name}" for name in sorted(os.listdir(PATHS["configs"]))),
        f"completion of flags: source {shlex.quote(PATHS['completion'])}",
        "optional packages:",
    ]
    for extra, modules in extras.missing().items():
        state = "installed"
        if modules:
            command = extras.install(f"wukong_tf[{extra}]")
            state = f"{', '.join(modules)} missing; run {command}"
        lines.append(f"  {extra}: {state}")
    return lines


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def run(argv, values: flags.FlagValues) -> int:
    """Prints what the flags ask for; returns the exit code."""

    def work():
        program.refuse_arguments(argv)
        show = fields.from_flags(Info, values).show
        print("\n".join(describe()) if show == "all" else PATHS[show])

    return program.exit_code(work)


def main():
    """Runs `wukong-info`."""
    program.start(__doc__, {"Installation": define}, run)


if __name__ == "__main__":
    main()
