"""The commands that install what is missing, and packages of others."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from wukong_tf import extras

ROOT = Path(__file__).resolve().parents[1]


def test_a_checkout_is_installed_from_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "setup.py").touch()
    monkeypatch.setattr(extras, "ROOT", str(folder))
    command = extras.install("wukong_tf[report]")
    assert command == f"pip install -e '{folder}[report]'"
    assert extras.install("a b") == "pip install a b"


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, "pip install 'wukong_tf[report]'"),
        (
            json.dumps({"url": "file:///w/wukong_tf-1.whl"}),
            "pip install 'wukong_tf[report] @ file:///w/wukong_tf-1.whl'",
        ),
    ],
)
def test_a_wheel_is_named_as_pip_was_given_it(
    text, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(extras, "ROOT", str(tmp_path))
    installed = SimpleNamespace(read_text=lambda name: text)
    monkeypatch.setattr(metadata, "distribution", lambda name: installed)
    assert extras.install("wukong_tf[report]") == expected


def test_missing_modules_are_listed_by_extra(monkeypatch):
    monkeypatch.setattr(
        extras,
        "_REQUIREMENTS",
        {
            "json": "wukong_tf[b]",
            "no_such_module": "wukong_tf[a]",
            "os": "wukong_tf[a]",
            "another": "another",
        },
    )
    assert extras.missing() == {"a": ["no_such_module"], "b": []}


@pytest.mark.parametrize(
    "module, other",
    [
        ("export.main", "trainer"),
        ("trainer.main", "wukong_tf"),
        ("export.serve", "trainer"),
    ],
)
def test_a_package_of_another_is_named_with_ours(module, other, tmp_path):
    """A folder of the user's comes first, as with `python -m`."""
    package = tmp_path / other
    package.mkdir()
    text = "" if other == "trainer" else "from . import extras\n"
    (package / "__init__.py").write_text(text)
    if other == "wukong_tf":  # another version of ours
        text = (ROOT / "wukong_tf" / "extras.py").read_text()
        (package / "extras.py").write_text(text)
        errors = (ROOT / "wukong_tf" / "errors.py").read_text()
        (package / "errors.py").write_text(errors)
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    home = tmp_path if other == "wukong_tf" else ROOT
    found = ROOT if other == "wukong_tf" else tmp_path
    assert f"its own package 'trainer', {home / 'trainer'};" in done.stderr
    assert f"finds {found / 'trainer'} first" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
