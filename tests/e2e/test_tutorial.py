"""The tutorial's commands run, and print what the page shows."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "examples" / "tutorial.py"


def runner():
    """The module examples/tutorial.py."""
    spec = importlib.util.spec_from_file_location("tutorial", RUNNER)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tutorial"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def start(*command, cwd, **more):
    """Runs Python; returns its exit code and all that it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout


def run_page(folder, *more):
    code, printed = start(
        *(RUNNER, f"--folder={folder}", *more),
        cwd=folder.parent,
    )
    assert code == 0, printed
    return printed


@pytest.mark.slow
def test_the_page_prints_what_it_shows(tmp_path):
    printed = run_page(tmp_path / "tutorial", "--before=Plan")
    path = tmp_path / "tutorial" / "data" / "shop" / "features.json"
    assert path.is_file()
    assert "[Mend the recipe]" in printed and "[Plan]" not in printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder that the whole page leaves."""
    folder = tmp_path_factory.mktemp("whole") / "tutorial"
    run_page(folder)
    return folder


@pytest.mark.full
def test_the_whole_page_goes_to_the_version_that_was_withdrawn(finished):
    assert (finished / "exports" / "withdrawn" / "2").is_dir()
    assert (finished / "exports" / "shop" / "1").is_dir()


@pytest.mark.full
def test_the_notebook_runs_where_the_page_ends(finished, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    notebook = nbformat.read(RUNNER.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "the notebook is kept without outputs"
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(finished)}},
    ).execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )
    assert "jax\n(2, 8, 16)" in printed


def test_numbers_with_a_point_may_differ_a_little():
    matches = runner().matches
    assert matches("auc 0.750 of 20,000 rows", "auc 0.740  of 20,000 rows")
    assert not matches("auc 0.750 of 20,000 rows", "auc 0.71 of 20,000 rows")
    assert matches("2.00 MB", "2.05 MB") and not matches("2.00 MB", "2.07 MB")
    assert matches("20.0 MB", "20.5 MB") and not matches("20.0 MB", "20.7 MB")
    assert not matches("auc 0.750 of 20,000 rows", "auc 0.750 of 20,001 rows")
    assert not matches("auc 0.750", "auc 0.750 and more")
    assert matches("auc ... rows", "auc (x) 0.1 of 3 rows")
    assert not matches("auc (x)", "auc x")


PAGE = """
## One

```sh
echo first; x=1.0
```

```text
first
```

```
exit 3
```

## Two

```python
print("{printed}", end="")
```

```text
second
...
```

```sh
echo $x {last}
```

```text
1.01
```
"""


@pytest.mark.parametrize(
    "printed, last, code, words",
    [
        ("second", "", 0, "3 blocks\n"),
        ("other", "", 1, "3 blocks\n[Two] did not print: second\n"),
        ("second", "7", 1, "3 blocks\n[Two] did not print: 1.01\n"),
        ("second", "; exit 4", 1, "3 blocks\nexit code 4 of:\necho $x ; exit"),
    ],
)
def test_a_page_that_prints_other_lines_is_noticed(
    printed, last, code, words, tmp_path
):
    page = tmp_path / "page.md"
    page.write_text(PAGE.format(printed=printed, last=last))
    folder = tmp_path / "empty"
    options = (f"--page={page}", f"--folder={folder}")
    ended, text = start(RUNNER, *options, cwd=tmp_path)
    assert ended == code and words in text, text


def test_runs_in_an_empty_folder_only(tmp_path):
    (tmp_path / "file").touch()
    code, text = start(RUNNER, f"--folder={tmp_path}", cwd=tmp_path)
    assert code == 2 and f"{tmp_path} is not empty" in text
