"""The wheel in an environment that has nothing else, outside the checkout."""

import glob
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("--synthetic_train_rows=512", "--synthetic_valid_rows=128"),
    *("--synthetic_test_rows=128", "--batch_size=128", "--num_layers=1"),
    *("--mlp_units=4", "--head_units=4", "--num_fmb=2", "--num_lcb=2"),
)


def output(*command, cwd):
    """What a command prints, which must succeed; no checkout is importable."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "KERAS_BACKEND")
        and not name.startswith("TF_")
    }
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, as building leaves files behind."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    for name in ("wukong_tf", "trainer", "export", "tests"):
        shutil.copytree(
            ROOT / name,
            source / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder]
    output(*command, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_the_flagfiles_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "wukong_tf",
        "trainer",
        "export",
    }
    for path in (ROOT / "trainer" / "configs").rglob("*.*"):
        assert path.relative_to(ROOT).as_posix() in names
    for name in ("trainer/completion.bash", "export/server/page.html"):
        assert name in names


def interpreter(version):
    """The path of a Python, on the path or of pyenv; None if there is none."""
    home = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    found = glob.glob(f"{home}/versions/{version}.*/bin/python")
    paths = [*found, shutil.which(f"python{version}")]
    return next((path for path in paths if path), None)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_it_trains_and_exports_where_it_is_installed(version, wheel, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    output(python, "-m", "venv", "env", cwd=tmp_path)
    scripts = tmp_path / "env" / "bin"
    output(scripts / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    output(scripts / "pip", "check", cwd=tmp_path)
    said = output(scripts / "wukong-info", cwd=tmp_path)
    assert f"[serving] @ {wheel.as_uri()}'" in said
    configs = output(scripts / "wukong-info", "--show=configs", cwd=tmp_path)
    assert (tmp_path / "env") in Path(configs.strip()).parents
    said = output(
        *(scripts / "python", "-m", "trainer.main"),
        f"--flagfile={configs.strip()}/quickstart.flags",
        *("--run_dir=run", "--compare_runs=", *TINY),
        cwd=tmp_path,
    )
    assert "first step after" in said and "wrote run/report" in said
    assert "matplotlib cannot be imported" in said
    said = output(
        *(scripts / "wukong-export", "--run_dir=run", "--output=exported"),
        *("--format=saved_model,onnx", "--batch_sizes=1", "--version=3"),
        cwd=tmp_path,
    )
    assert "published" in said
    for name in ("saved_model.pb", "onnx/model.onnx", "manifest.json"):
        assert (tmp_path / "exported" / "3" / name).is_file(), name
