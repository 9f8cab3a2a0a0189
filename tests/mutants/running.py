"""Runs tests on a copy of the tree, forked from a process that is warm."""

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Imported once, not once a mutant. None of them starts a thread.
WARM = (
    "numpy",
    "pyarrow.parquet",
    "pytest",
    "tensorflow",
    "keras",
    "tensorflow_recommenders",
    "onnx",
    "onnxruntime",
)
STAGES = ("not slow and not full", "slow and not full")
PASSED, NO_TESTS = 0, 5  # exit codes of pytest
LATE = "late"  # instead of one


def copy_tree(folder: Path):
    """Copies what git tracks, or would, from the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def warm_up(tree: Path):
    """Imports what is slow to import, and lets `tree` be imported from.

    No bytecode is written: a file that changes within a second, by no byte
    in size, would be taken for the one before.
    """
    os.environ |= {
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(tree),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_USE_LEGACY_KERAS": "1",
    }
    sys.dont_write_bytecode = True
    sys.path[:] = [str(tree), *(p for p in sys.path if p != str(ROOT))]
    for name in [*sys.modules]:
        if name.split(".")[0] == "tests":
            del sys.modules[name]
    os.chdir(tree)
    for name in WARM:
        importlib.import_module(name)


def run(tests: Sequence[str], marks: str, limit: float, log: Path):
    """Runs tests of the current folder until one fails.

    Args:
        tests: their files.
        marks: pytest's expression of those to run.
        limit: seconds after which they are killed.
        log: file for their output.

    Returns:
        The exit code of pytest, or LATE; and the seconds taken.
    """
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        _test(tests, marks, log)
    code: int | str | None = None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - began > limit:
            code = LATE
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:
            time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started
    return code, time.monotonic() - began


def _test(tests, marks, log):
    """Ends this process with the exit code of pytest."""
    code = 3
    try:
        import pytest

        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        options = ["-qx", "-p", "no:cacheprovider", "-p", "no:randomly"]
        temporary = f"--basetemp={log.parent / 'temporary'}"
        code = int(pytest.main([*options, temporary, "-m", marks, *tests]))
    finally:
        sys.stdout.flush()
        os._exit(code)
