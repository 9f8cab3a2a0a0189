"""Lists of the programs' flags, from the settings that define them."""

import importlib
import re
import textwrap
from collections.abc import Mapping

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
    settings,
    tune,
)
from trainer.process import program

_FLAG = r"--\w+(?:=[-=\w./,]*\w)?"

# Functions that define the flags of each program, by group.
GROUPS: dict[str, Mapping[str, program.Define]] = {
    "trainer.main": settings.GROUPS,
    "trainer.compare": {"": compare.define},
    "trainer.prepare": {"": prepare.define},
    "trainer.launch": {"": launch.define},
    "trainer.tune": {"": tune.define},
    "trainer.scaling": {"": scaling.define},
    "trainer.reproduce": {"": reproduce.define},
    "trainer.example_log": {"": example_log.define},
    "trainer.info": {"": info.define},
    "export.main": {"": export_flags.define},
    "export.serve": {"": serve.define},
    "export.rollout": {"": rollout.define},
    "export.score": {"": score.define},
}


def lists(module: str) -> str:
    """Returns the flags of a program as Markdown, a list for each group.

    Args:
        module: name of the program, such as "trainer.main".
    """
    about = importlib.import_module(module).__doc__ or ""
    lines = [_about(about)]
    for title, define in GROUPS[module].items():
        values = flags.FlagValues()
        define(values)
        if title:
            lines += ["", f"### {title}"]
        # In the order of their definition; iterating would sort the names.
        for name in values._flags():
            form, *text = program.described(values[name])
            lines += ["", f"`{form.strip()}`", f":   {_plain(text)}"]
    return "\n".join(lines)


def _about(text):
    """Returns a program's docstring with its commands and flags as code."""
    blocks = re.split(r"\n\n+", text.strip())
    for place, block in enumerate(blocks):
        if block.lstrip().startswith("python -m "):
            blocks[place] = f"```sh\n{textwrap.dedent(block)}\n```"
        else:
            parts = re.split(r"(`[^`]*`)", " ".join(block.split()))
            parts[::2] = [re.sub(_FLAG, r"`\g<0>`", x) for x in parts[::2]]
            blocks[place] = "".join(parts)
    return "\n\n".join(blocks)


def _plain(lines):
    """Returns text of --help that Markdown reads as it stands."""
    text = " ".join(line.strip() for line in lines)
    parts = re.split(rf"(`[^`]+`|{_FLAG})", text)  # the flags are code
    parts[::2] = [re.sub(r"([<*_`\[\]])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [f"`{code.strip('`')}`" for code in parts[1::2]]
    return "".join(parts)
