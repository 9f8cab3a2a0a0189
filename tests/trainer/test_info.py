"""What `python -m trainer.info` prints, and the completion of flags."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wukong_tf
from tests.programs import call
from trainer import info
from wukong_tf import extras

ROOT = Path(__file__).resolve().parents[2]


def show(*arguments):
    """The exit code of the program, run in this process."""
    return call(info, *arguments)


def test_the_paths_are_those_of_files(capsys):
    assert show("--show=configs") == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "quickstart.flags").samefile(
        ROOT / "configs" / "quickstart.flags"
    )
    assert show("--show=completion") == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    assert show("configs") == 2
    assert "unexpected arguments: ['configs']" in capsys.readouterr().err


def test_versions_and_packages(monkeypatch, capsys, tmp_path):
    lacking = {"beam": ["apache_beam"], "report": []}
    monkeypatch.setattr(extras, "missing", lambda: lacking)
    script = tmp_path / "a b"
    monkeypatch.setitem(info.PATHS, "completion", str(script))
    assert show() == 0
    said = capsys.readouterr().out.splitlines()
    assert f"completion of flags: source '{script}'" in said
    assert said[0] == f"wukong_tf {wukong_tf.__version__} in {ROOT}"
    assert f"flagfiles: {ROOT / 'trainer' / 'configs'}" in said
    assert "  quickstart.flags" in said
    assert said[-2:] == [
        f"  beam: apache_beam missing; run pip install -e '{ROOT}[beam]'",
        "  report: installed",
    ]


COMPLETE = """
source {script}
compopt() {{ :; }}
COMP_WORDS=({words})
COMP_CWORD={place}
cd {folder}
_wukong_flags wukong-info
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--s"], ["--show="]),
        (["--show", "="], ["all", "configs", "completion"]),
        (["--show", "=", "co"], ["configs", "completion"]),
        (["--flagfile", "=", "on"], ["one.flags"]),
        (["--flagfile", "=", "tw"], ["two words"]),
        (["--versi"], ["--version"]),
    ],
)
def test_bash_completes_flags_choices_and_files(words, expected, tmp_path):
    (tmp_path / "one.flags").touch()
    (tmp_path / "two words").touch()
    program = tmp_path / "bin" / "wukong-info"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m trainer.info "
        '"$@"\n'
    )
    program.chmod(0o755)
    script = COMPLETE.format(
        script=info.PATHS["completion"],
        words=" ".join(["wukong-info", *words]),
        place=len(words),
        folder=tmp_path,
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == expected, done.stderr


def test_every_program_is_completed():
    text = Path(info.PATHS["completion"]).read_text(encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", f"{text}\ncomplete -p"],
        capture_output=True,
        text=True,
        check=True,
    )
    completed = {line.split()[-1] for line in done.stdout.splitlines()}
    scripts = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert completed == set(
        part.partition("=")[0].strip(' "')
        for part in scripts.splitlines()
        if ":main" in part
    )
