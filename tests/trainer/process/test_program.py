"""How programs start: --help, --version, and flags that break a rule."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
import tensorflow as tf
from absl import flags

from tests.errors import assert_refused
from trainer import settings
from trainer.placement import host_memory
from trainer.process import program
from trainer.settings import fields
from trainer.settings.fields import Settings, setting
from wukong_tf import __version__
from wukong_tf.errors import ConfigError, LostWorkerError

ROOT = Path(__file__).resolve().parents[3]


def programs(folder):
    """The modules in a folder that a user starts."""
    return [
        f"{folder}.{path.stem}"
        for path in sorted((ROOT / folder).glob("*.py"))
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]


PROGRAMS = [*programs("trainer"), *programs("export")]


def start(module, *arguments):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("module", [*PROGRAMS, *programs("benchmarks")])
def test_every_program_explains_itself(module):
    """And loads neither TensorFlow nor Keras for it."""
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import runpy, sys; sys.argv = ['x', '--help']\n"
            f"try:\n    runpy.run_module({module!r}, run_name='__main__')\n"
            "finally:\n"
            "    loaded = {'tensorflow', 'keras'} & set(sys.modules)\n"
            "    print('loaded:', *loaded)",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "\nEvery program:\n  --flagfile=FILE" in ended.stdout
    assert ended.stdout.rstrip().endswith("loaded:"), ended.stdout[-200:]
    assert max(map(len, ended.stdout.splitlines())) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("module", [*PROGRAMS, "benchmarks.train_step"])
def test_every_program_has_its_version(module):
    ended = start(module, "--version")
    assert (ended.returncode, ended.stdout) == (0, f"wukong_tf {__version__}\n")


@pytest.mark.slow
def test_flags_that_break_a_rule():
    ended = start("export.main", "--no_such_flag=1")
    assert ended.returncode == 2 and not ended.stdout
    assert "no_such_flag" in ended.stderr and "--help" in ended.stderr
    ended = start("trainer.main", "--batch_size=0")
    assert ended.returncode == 2
    assert "--batch_size must be at least 1; received 0." in ended.stderr


def test_help_gives_groups_kinds_choices_and_defaults():
    values = flags.FlagValues()
    names = {}
    for title, define in settings.GROUPS.items():
        before = set(values)
        define(values)
        names[title] = sorted(set(values) - before)
    text = program.describe("About.", names, values)
    assert text.startswith("About.\n\nRun:\n")
    for part in (
        "\n  --mode=train|eval|predict|plan\n      train: train,",
        "\n  --[no]synthetic\n",
        "\n  --batch_size=INT\n      Rows per training step. Default: 1024.\n",
        "\n  --units=A,B,...\n",
        "\n  --synthetic_tasks=A,B,...\n",
        "Default: click.\n",
    ):
        assert part in text, part
    titles = [line for line in text.splitlines() if line and line[0] != " "]
    assert titles[1:] == [f"{t}:" for t in settings.GROUPS] + ["Every program:"]


class Elsewhere(Exception):
    """A library's error of its own type."""


@pytest.mark.parametrize(
    "error, code, text",
    [
        (ConfigError("--rank=0."), 2, "error: --rank=0.\n"),
        (LostWorkerError("worker 1"), 69, "error: worker 1\n"),
        (
            PermissionError(13, "Permission denied", "log.csv"),
            *(2, "error: [Errno 13] Permission denied: 'log.csv'\n"),
        ),
        (Elsewhere("f: No space left on device"), 2, "error: f: No space left"),
        (Elsewhere("a fault"), None, ""),
        (ValueError(), None, ""),
        (KeyboardInterrupt(), None, ""),
    ],
)
def test_errors_and_their_exit_codes(capsys, error, code, text):
    def work():
        raise error

    if code is None:
        with pytest.raises(type(error)):
            program.exit_code(work)
    else:
        assert program.exit_code(work) == code
    said = capsys.readouterr().err
    assert text in said and said.count("\n") == (code is not None)


@pytest.mark.parametrize(
    "error, line",
    [
        (MemoryError(), "MemoryError"),
        (pa.ArrowMemoryError("malloc of 9 failed."), "malloc of 9 failed"),
        (OSError(12, "Cannot allocate memory"), "[Errno 12] Cannot allocate"),
        (
            ImportError("Traceback:\n\n  ImportError: std::bad_alloc\n\nSee"),
            "ImportError: std::bad_alloc",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "2 root errors\nOOM when allocating tensor of 9"
            ),
            "OOM when allocating tensor of 9",
        ),
        (RuntimeError("can't start new thread"), "can't start new thread"),
    ],
)
def test_memory_that_the_system_refuses(capsys, error, line):
    def work():
        raise error

    assert program.exit_code(work) == 2
    said = capsys.readouterr().err
    assert f"out of memory on this machine: {line}" in said
    assert "GiB are available here" in said and said.count("\n") == 1


def test_work_that_ends_and_that_is_interrupted(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert program.exit_code(lambda: None) == 0
    assert program.exit_code(lambda: 75) == 75
    assert program.exit_code(interrupted, "nothing was written") == 130
    assert capsys.readouterr().err == "nothing was written\n"


def test_the_memory_that_is_left_is_described(monkeypatch):
    monkeypatch.setattr(host_memory, "available_bytes", lambda: 3 * 2**29)
    monkeypatch.setattr(host_memory, "address_space_limit", lambda: 2**31)
    expected = "1.5 GiB are available here; this process may map 2.0 GiB ("
    assert host_memory.describe() == f"{expected}ulimit -v)."


END = """
import atexit, os, threading, time
from trainer.process import console, program

class Slow:
    def __del__(self):
        time.sleep(60)

kept = Slow()
threading.Thread(target=time.sleep, args=(60,)).start()
atexit.register(os.write, 1, b"at exit")
console.guard()
print("x" * 100_000)
program.end(75)
"""


def test_a_program_ends_with_its_code_and_all_output():
    """And does not wait for what only frees memory."""
    ended = subprocess.run(
        [sys.executable, "-c", END],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ended.returncode == 75, ended.stderr
    assert ended.stdout == "x" * 100_000 + "\nat exit"


@dataclasses.dataclass(frozen=True)
class Example(Settings):
    """An example."""

    path: str = setting(None, "A path.", needed=True)
    seconds: float = setting(1.0, "Seconds.", minimum=0.5)
    kind: Literal["a", "b"] = setting("a", "A kind.")
    names: tuple[str, ...] = setting(("x",), "Names.")
    options: tuple[str, ...] = setting((), "Options.", repeated=True)
    given: frozenset[str] = frozenset()


def test_settings_are_read_from_flags():
    values = flags.FlagValues()
    fields.define(Example, values)
    values(["x", "--path=p", "--names=a,b", "--options=1,2", "--options=3"])
    assert fields.from_flags(Example, values) == Example(
        path="p",
        names=("a", "b"),
        options=("1,2", "3"),
        given=frozenset({"path", "names", "options"}),
    )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"path": ""}, "--path is required."),
        ({"seconds": 0.25}, "--seconds must be at least 0.5; received 0.25."),
        ({"seconds": math.nan}, "--seconds must be finite; received nan."),
        ({"seconds": math.inf}, "--seconds must be finite; received inf."),
        ({"kind": "c"}, "--kind must be one of ['a', 'b']; received 'c'."),
    ],
)
def test_settings_that_break_a_rule(changes, message):
    assert_refused(lambda: Example(**{"path": "p", **changes}), message)
