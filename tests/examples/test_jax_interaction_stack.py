"""The JAX example, run as its first line says."""

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.full
@pytest.mark.skipif(util.find_spec("jax") is None, reason="needs JAX")
def test_the_loss_falls_without_tensorflow():
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = None; "
        "runpy.run_path('examples/jax_interaction_stack.py', "
        "run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(x) for x in re.findall(r"loss (\S+)", done.stdout)]
    assert len(losses) == 7
    # A coin's is 0.693.
    assert losses[0] > 0.65 and losses[-1] < 0.6, losses
