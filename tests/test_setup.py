"""What an installation holds, from what the sources import and run."""

import ast
import importlib
import os
import re
import runpy
import sys
from importlib import metadata
from pathlib import Path

import pytest
import setuptools

import wukong_tf
from wukong_tf import extras

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("wukong_tf", "trainer", "export")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


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


def sources(*folders):
    return [path for each in folders for path in (ROOT / each).rglob("*.py")]


def imported(*folders):
    """Top-level packages of others that sources import, at any depth."""
    found = set()
    for path in sources(*folders):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {*ROOMS, "tests", "benchmarks"}


def names(requirements):
    """Distributions of requirements, as packaging compares names."""
    found = [re.match(r"[\w.-]+", each)[0] for each in requirements]
    return {re.sub(r"[-_.]+", "-", each).lower() for each in found}


def distributions(packages):
    """Those installed that hold any of the packages."""
    homes = metadata.packages_distributions()
    return names(home for each in packages for home in homes.get(each, ()))


def test_every_package_of_the_rooms_and_no_test_is_installed(setup):
    expected = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in sources(*ROOMS)
    }
    assert set(setup["packages"]) == expected
    for path in sources(*ROOMS):
        assert (path.parent / "__init__.py").exists(), path


def test_files_that_are_no_sources_are_installed_too(setup):
    listed = {
        path
        for package, patterns in setup["package_data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    others = {
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert listed == others


def test_version_and_pythons(setup):
    assert setup["version"] == wukong_tf.__version__
    first, last = re.search(
        r"\(3, (\d+)\) <= v <= \(3, (\d+)\)", MAKEFILE
    ).groups()
    assert setup["python_requires"] == f">=3.{first},<3.{int(last) + 1}"


def test_what_the_product_imports_is_required(setup):
    """Each by the install or by an extra, or by what one of them requires."""
    packages = imported(*ROOMS)
    needed = names(setup["install_requires"])
    assert needed - distributions(packages) == {"tf-keras"}, (
        "tf-keras is TensorFlow Recommenders', the only one not imported here"
    )
    optional = {each for e in setup["extras_require"].values() for each in e}
    given = needed | names(optional)
    installed = names(each.name for each in metadata.distributions())
    for each in given & installed:
        given = given | names(metadata.requires(each) or ())
    homes = metadata.packages_distributions()
    lacking = {
        each
        for each in packages & homes.keys()
        if not names(homes[each]) & given
    }
    assert not lacking
    # Not installed for `make test`: an extra brings them.
    assert packages - homes.keys() <= extras._REQUIREMENTS.keys()


def test_what_the_tests_import_is_in_an_extra(setup):
    brought = setup["extras_require"]
    needed = distributions(imported("tests", "benchmarks") - imported(*ROOMS))
    every = {each for requirements in brought.values() for each in requirements}
    transitive = {"ml-dtypes", "pillow", "setuptools"}
    assert needed - transitive <= names(every)
    everything = {*brought["dev"]}
    for extra in ("report", "serving", "baselines"):
        assert everything >= {*brought[extra]}, extra


def test_requirements_have_lower_bounds(setup):
    for requirement in setup["install_requires"]:
        assert ">=" in requirement
        if "recommenders" in requirement:
            assert 'sys_platform != "darwin"' in requirement


def test_every_extra_is_one_that_something_names(setup):
    named = {
        extra
        for listed in re.findall(r"'\.\[([\w,]+)\]'", MAKEFILE)
        for extra in listed.split(",")
    }
    for wanted in extras._REQUIREMENTS.values():
        for requirement in wanted.split():
            extra = requirement.partition("[")[2].rstrip("]")
            if extra:
                named.add(extra)
            else:
                assert requirement in names(setup["install_requires"])
    assert setup["extras_require"].keys() == named


def test_every_program_has_a_script(setup):
    programs = {
        f"{path.parent.name}.{path.stem}:main"
        for room in ("trainer", "export")
        for path in (ROOT / room).glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    scripts = dict(
        script.split("=") for script in setup["entry_points"]["console_scripts"]
    )
    assert sorted(scripts.values()) == sorted(programs)
    for script, target in scripts.items():
        module, _, name = target.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
        assert script.removeprefix("wukong-").replace("-", "_") in module
