"""The table of `make mutants`, and the bugs that it puts in."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TARGETS = tomllib.loads((HERE / "targets.toml").read_text())
EQUIVALENT = tomllib.loads((HERE / "equivalent.toml").read_text())
MODULE = '''
"""A module."""
import os
LIMIT: int | None = 3


def add(a: int | None, *, b: float = 1.5) -> float | None:
    for _ in range(a):
        b = a + b * 2
    return b if a == 2 and not b else None


if __name__ == "__main__":
    print(1 + 1)
'''


def test_modules_and_their_tests_are_there():
    modules = [name for part in TARGETS.values() for name in part]
    assert len(modules) == len(set(modules))
    for part in TARGETS.values():
        for module, tests in part.items():
            assert (ROOT / module).is_file(), module
            assert tests, module
            for test in tests:
                assert test.startswith("tests/"), test
                assert (ROOT / test).is_file(), test


def test_bugs_that_were_written_down_can_still_be_put_in():
    for each in EQUIVALENT["equivalent"]:
        assert each.keys() == {"module", "was", "becomes", "reason"}
        assert any(each["module"] in part for part in TARGETS.values())
        text = (ROOT / each["module"]).read_text()
        lines = " ".join(line.strip() for line in text.splitlines())
        assert each["was"] in lines, each
        assert each["becomes"] != each["was"] and each["reason"].endswith(".")


@pytest.fixture
def choosing():
    pytest.importorskip("cosmic_ray", reason="the extra `mutants` has it")
    from tests.mutants import choosing

    return choosing


def mutants(choosing, text, seed=1):
    sites = sorted(choosing.sites("a.py", text, seed), key=lambda s: s.rank)
    return [choosing.mutant(site, text) for site in sites]


def test_every_mutant_is_the_module_with_one_bug(choosing):
    found = mutants(choosing, MODULE)
    assert None not in found and len({m.key for m in found}) == len(found)
    for each in found:
        assert ast.dump(ast.parse(each.code)) != ast.dump(ast.parse(MODULE))
        lines = MODULE.splitlines()
        assert each.was == lines[each.line - 1].strip()
        changed = each.code.splitlines()[each.line - 1].strip()
        assert each.becomes == changed != each.was
        assert f"-{lines[each.line - 1]}" in each.diff
    texts = {each.was for each in found}
    # A number, a default, a loop, operators and a condition, but no
    # annotation, no marker of parameters and no program's start.
    assert texts == {
        "LIMIT: int | None = 3",
        "def add(a: int | None, *, b: float = 1.5) -> float | None:",
        "for _ in range(a):",
        "b = a + b * 2",
        "return b if a == 2 and not b else None",
    }
    assert all("*, b" in m.becomes for m in found if "def" in m.was)
    assert not any("int None" in each.becomes for each in found)
    assert all("int | None" in m.becomes for m in found if "int" in m.was)


def test_the_sample_follows_from_the_seed_and_the_text(choosing):
    first = [each.key for each in mutants(choosing, MODULE)]
    assert [each.key for each in mutants(choosing, MODULE)] == first
    moved = MODULE.replace("import os\n", "import os\n\nimport sys\n\n")
    assert [each.key for each in mutants(choosing, moved)] == first
    assert [each.key for each in mutants(choosing, MODULE, 2)] != first


@pytest.mark.full
def test_a_sample_is_tested_and_goes_on(tmp_path, choosing):
    """Two of three, then the last; the working tree stays as it is."""
    module = ROOT / "wukong_tf/metrics/functions.py"
    before = module.read_bytes(), module.stat().st_mtime_ns
    results = tmp_path / "results.json"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutants", "--results", results]
            + ["--only=metrics/functions.py", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "to do: 2" in run("--sample=2", "--report")
    run("--sample=2")
    first = json.loads(results.read_text())["outcomes"]
    assert len(first) == 2
    output = run("--sample=3")
    outcomes = json.loads(results.read_text())["outcomes"]
    assert len(outcomes) == 3 and first.items() <= outcomes.items()
    assert {each["outcome"] for each in outcomes.values()} <= {
        "killed",
        "survived",
        "late",
    }
    assert "to do" not in output and "metrics/functions.py" in output
    assert (module.read_bytes(), module.stat().st_mtime_ns) == before
