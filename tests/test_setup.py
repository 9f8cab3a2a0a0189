"""What an installation holds."""

import importlib
import os
import runpy
from pathlib import Path

import pytest
import setuptools

import wukong_tf

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("wukong_tf", "trainer", "export")


@pytest.fixture(scope="module")
def setup():
    """The arguments that setup.py gives to setuptools."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(
            setuptools, "setup", lambda **kwargs: given.update(kwargs)
        )
        runpy.run_path(os.fspath(ROOT / "setup.py"))
    return given


def test_every_package_of_the_rooms_and_no_test_is_installed(setup):
    expected = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert set(setup["packages"]) == expected
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), path


def test_names_and_versions(setup):
    assert setup["version"] == wukong_tf.__version__
    assert setup["python_requires"] == ">=3.11,<3.14"
    assert setup["extras_require"].keys() == {
        "gpu",
        "serving",
        "report",
        "baselines",
        "torch",
        "beam",
        "dev",
        "mutants",
    }
    for requirement in setup["install_requires"]:
        assert ">=" in requirement
        if "recommenders" in requirement:
            assert 'sys_platform != "darwin"' in requirement


def test_console_scripts_lead_to_functions(setup):
    scripts = dict(
        script.split("=") for script in setup["entry_points"]["console_scripts"]
    )
    assert scripts.keys() == {
        "wukong-train",
        "wukong-export",
        "wukong-rollout",
        "wukong-score",
        "wukong-serve",
        "wukong-launch",
        "wukong-prepare",
    }
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
