"""Every command that the README and docs show is one, and runs.

Each is parsed by its program's own flags; those of RUNS are run too, in the
order of a user's work, at a size that takes seconds.
"""

import contextlib
import io
import re
import runpy
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from export import main as export_main
from export import rollout
from tests.programs import DEFINES
from tests.trainer import cli
from trainer import (
    prepare,
)
from trainer.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.S | re.M)
INLINE = re.compile(r"`([^`]+)`")
LOOP = re.compile(r"^ *for (\w+) in (\S+)", re.M)
START = re.compile(r"(\.venv/bin/)?python -m |make |pip install |sh ")
# What stands for something of the reader's: a number where one is due.
PLACEHOLDER = re.compile(r"[A-Z]{1,5}")


def commands():
    """{command: page} of all that the pages show, in their order."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = "\n".join(FENCED.findall(text)).replace("\\\n", " ")
        for name, value in LOOP.findall(blocks):
            blocks = blocks.replace(f"${name}", value)
        lines = blocks.splitlines()
        lines += INLINE.findall(FENCED.sub("", text))
        for line in lines:
            command = " ".join(line.split())
            if START.match(command):
                found.setdefault(command, page.name)
    return found


def parsed(module, arguments):
    """The flags of a program, as the command gives them."""
    if module == "trainer.main":
        with cli.parsed(*arguments) as values:
            Settings.from_flags(values)
            return values
    values = flags.FlagValues()
    DEFINES[module](values)
    values(["program", *arguments])
    return values


def check(command):
    """Raises unless the command's program, flags and files are there."""
    words = shlex.split(command)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        target = re.escape(words[1])
        own = re.search(rf"^{target}:", makefile, re.M)
        if words[1].startswith("reproduce-") and not own:
            name = words[1].removeprefix("reproduce-")
            assert name == "NAME" or (ROOT / f"configs/{name}.flags").is_file()
            target = "reproduce-%"
        assert re.search(rf"^{target}:", makefile, re.M)
    elif words[0] == "pip":
        text = (ROOT / "setup.py").read_text(encoding="utf-8")
        for extra in re.findall(r"\[(\w+)\]", command):
            assert f'"{extra}": ' in text
    elif words[0] == "sh":
        assert (ROOT / words[1]).is_file()
    else:
        module, arguments = words[2], words[3:]
        if module == "benchmarks.NAME":
            return
        path = ROOT / module.replace(".", "/")
        assert (
            path.with_suffix(".py").is_file()
            or (path / "__main__.py").is_file()
        ), module
        if module.startswith(("benchmarks.", "wukong_tf.")):
            given = [a for a in arguments if a.startswith("-")]
            assert not given, "nothing here would parse them"
            return
        if "--" in arguments:
            at = arguments.index("--")
            starts = module in ("trainer.scaling", "trainer.tune")
            run_dir = ["--run_dir=R"] if starts else []
            check_flags_of("trainer.main", arguments[at + 1 :] + run_dir)
            arguments = arguments[:at]
        check_flags_of(module, arguments)


def check_flags_of(module, arguments):
    """Parses the flags, whatever stands for a value of the reader's."""
    given = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if argument in ("FLAGS", "...", "--help") or value == "F":
            continue
        if name == "--flagfile":
            assert (ROOT / value).is_file(), value
            argument = f"{name}={ROOT / value}"
        elif PLACEHOLDER.fullmatch(value):
            argument = f"{name}=1"
        given.append(argument)
    if given:
        parsed(module, given)


@pytest.mark.parametrize("command", commands())
def test_the_program_its_flags_and_files_are_there(command):
    check(command)


def test_what_is_not_there_is_noticed():
    for wrong in (
        "python -m trainer.main --no_such_flag=1",
        "python -m trainer.no_such_module",
        "python -m trainer.main --flagfile=configs/none.flags",
        "python -m trainer.launch --workers=2 -- --model=none",
        "python -m export.main --format=a --opset=b",
        "make nothing",
        "make reproduce-nothing",
        "pip install '.[nothing]'",
        "sh examples/none.sh",
    ):
        with pytest.raises((AssertionError, flags.Error)):
            check(wrong)


TINY = (
    *("--synthetic_train_rows=512", "--synthetic_valid_rows=128"),
    *("--synthetic_test_rows=128", "--batch_size=128", "--num_layers=1"),
    *("--mlp_units=4", "--head_units=4", "--num_fmb=2", "--num_lcb=2"),
)
FEW = (*TINY[:4],)
MAIN, EXPORT = "python -m trainer.main", "python -m export.main"
# Commands of the pages, and what makes them small.
RUNS: dict[str, tuple[str, ...]] = {
    f"{MAIN} --mode=plan --preset=internal_5.6gf --synthetic --rank=8": (),
    "python -m wukong_tf.scaling": (),
    "python -m wukong_tf.scaling.replication": (),
    "python -m wukong_tf.scaling.sharding": (),
    "python -m trainer.prepare --dataset=frappe --input=DIR "
    "--output=data/frappe": (),
    f"{MAIN} --flagfile=configs/frappe.flags": (
        *("--max_steps=2", "--num_layers=1", "--rank=3", "--mlp_units=4"),
    ),
    f"{EXPORT} --run_dir=runs/frappe --output=exports/frappe "
    "--format=saved_model,onnx": ("--batch_sizes=1",),
    f"{MAIN} --flagfile=configs/quickstart_fm.flags": FEW,
    f"{MAIN} --flagfile=configs/quickstart.flags": (*TINY, "--compare_runs="),
    f"{EXPORT} --run_dir=runs/quickstart --output=exports/quickstart "
    "--format=saved_model,onnx": ("--batch_sizes=1", "--version=1764040000"),
    "python -m export.rollout --output=exports/clicks --stable=1764040000": (),
}
LONG = (EXPORT, f"{MAIN} --flagfile", "python -m export.rollout")
FULL = pytest.mark.full


def write_frappe(folder):
    """Frappe's files, of a few rows that nobody logged."""
    folder.mkdir()
    names = "label,user,item,daytime,weekday,isweekend,homework,cost,weather"
    names += ",country,city"
    for seed, split in enumerate(("train", "valid", "test")):
        random = np.random.default_rng(seed)
        rows = random.integers(0, 9, (300, 11))
        rows[:, 0] = random.integers(0, 2, 300)
        lines = [names, *(",".join(map(str, row)) for row in rows)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def run(command, more):
    """The exit code of a command, run in this process."""
    _, _, module, *arguments = shlex.split(command)
    arguments += more
    if module == "trainer.main":
        return cli.run(*arguments)
    if module.startswith("wukong_tf."):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            runpy.run_module(module, run_name="__main__")
        assert said.getvalue().count("|") > 20
        return 0
    programs = {
        "export.main": export_main,
        "export.rollout": rollout,
        "trainer.prepare": prepare,
    }
    values = flags.FlagValues()
    DEFINES[module](values)
    rest = values([module, *arguments])
    return programs[module].run(rest, values)


def test_the_pages_show_what_is_run():
    assert RUNS.keys() <= commands().keys()


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["quick", pytest.param("all", marks=FULL)])
def test_they_run_one_after_the_other(tier, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_frappe(tmp_path / "DIR")
    monkeypatch.chdir(tmp_path)
    for command, more in RUNS.items():
        if tier == "quick" and command.startswith(LONG):
            continue
        if "rollout" in command:
            shutil.copytree("exports/quickstart", "exports/clicks")
        assert run(command, more) == 0, command
