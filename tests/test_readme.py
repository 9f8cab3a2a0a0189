"""What the README and docs show runs, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import settings as trainer_settings
from trainer.settings import fields

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


def blocks():
    """(page, number, code) of each Python block that needs no trained run."""
    for page in PAGES:
        if page.name == "tutorial.md":  # run by its own test
            continue
        codes = BLOCK.findall(page.read_text(encoding="utf-8"))
        for number, code in enumerate(codes):
            if "runs/" not in code and "exports/" not in code:
                yield pytest.param(page, number, id=f"{page.stem}-{number}")


@pytest.mark.slow
@pytest.mark.parametrize("page, number", list(blocks()))
def test_python_blocks_run(page, number, tmp_path):
    """In a process of their own; a page's blocks build on those before."""
    codes = BLOCK.findall(page.read_text(encoding="utf-8"))[: number + 1]
    code = "\n".join(
        code for code in codes if "runs/" not in code and "exports/" not in code
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_the_layers_snippet_has_at_most_ten_lines():
    codes = BLOCK.findall(PAGES[0].read_text(encoding="utf-8"))
    (code,) = [code for code in codes if "InteractionStack" in code]
    body = [
        line
        for line in code.splitlines()
        if line and not line.startswith(("import", "from"))
    ]
    assert 1 <= len(body) <= 10
    for word in (".fit(", ".save(", "load_model("):
        assert word in code


def test_links_and_pictures_are_there():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            if "://" not in target:
                path = page.parent / target.partition("#")[0]
                assert path.exists(), f"{page.name}: {target}"


def test_flags_that_the_pages_name_exist():
    from absl import flags

    from tests.programs import DEFINES
    from wukong_tf.interop import KINDS

    # KINDS are those of benchmarks.interop; "logdir" is TensorBoard's.
    known = {"flagfile", "help", "logdir", *KINDS}
    for define in DEFINES.values():
        values = flags.FlagValues()
        define(values)
        known |= set(values)
    if "run_dir" not in flags.FLAGS:
        trainer_settings.define(flags.FLAGS)
    known |= set(flags.FLAGS)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        known_here = set(known)
        if page.name == "tests.md":
            program = (ROOT / "tests/mutants/__main__.py").read_text()
            known_here |= set(re.findall(r'"--([a-z]+)"', program))
        for name in re.findall(r"--([a-z][a-z_0-9]+)", text):
            assert name in known_here, f"{page.name}: --{name}"


def test_flagfiles_parse_and_say_what_they_expect():
    from absl import flags
    from absl.testing import flagsaver

    from trainer.settings import Settings

    if "run_dir" not in flags.FLAGS:
        trainer_settings.define(flags.FLAGS)
    files = sorted((ROOT / "configs").glob("*.flags"))
    assert len(files) >= 3
    for path in files:
        with flagsaver.flagsaver():
            flags.FLAGS(["trainer.main", f"--flagfile={path}"])
            Settings.from_flags(flags.FLAGS)
        head = path.read_text(encoding="utf-8").partition("\n--")[0]
        for word in ("Data:", "Expect:", "Hardware:", "Time:"):
            assert word in head, f"{path.name} does not say {word}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("trainer.main", ["run_dir", "output", "checkpoint"]),
        ("export.main", ["run_dir", "output", "checkpoint", "tables"]),
        ("export.serve", ["model", "port"]),
        ("export.rollout", ["stable", "output"]),
        ("export.score", ["model", "input", "output"]),
    ],
)
def test_help_of_an_installed_command_lists_its_flags(module, names):
    code = (
        f"import sys; sys.argv = ['command', '--help']\n"
        f"from {module} import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    for name in names:
        assert f"\n  --{name}=" in result.stdout.replace("--[no]", "--")
    assert result.returncode == 0 and "\nEvery program:\n" in result.stdout


def test_every_flag_is_documented():
    from absl import flags

    if "run_dir" not in flags.FLAGS:
        trainer_settings.define(flags.FLAGS)
    mine = [
        flags.FLAGS[field.name]
        for section in trainer_settings.SECTIONS.values()
        for field, _ in fields.settings_of(section)
    ]
    assert len(mine) > 40
    for flag in mine:
        assert len(flag.help) > 10, flag.name
