"""One process with two logical devices for all tests of optimizers."""

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session")
def two_replicas(tmp_path_factory):
    """What `tests.optimizers.two_replicas` wrote."""
    path = tmp_path_factory.mktemp("replicas") / "results.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.optimizers.two_replicas", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as results:
        return dict(results)
