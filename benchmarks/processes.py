"""Runs parts of a benchmark in separate processes."""

import subprocess
import sys


def run(module: str, *arguments: str) -> str:
    """Runs `python -m MODULE ARGUMENTS` and returns its last line.

    Its stderr is reported only if it fails.

    Raises:
        RuntimeError: the exit code is not 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"{module}: exit code {done.returncode}\n{done.stderr}"
        )
    return (done.stdout.splitlines() or [""])[-1]
