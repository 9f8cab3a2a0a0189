"""Clients that are not ours: Triton's, KServe's, and one of Serving's.

Each package wants an environment of its own: FOREIGN_CLIENTS lists the Python
interpreters of such, with ':' between them, besides that of the tests.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.export.formats.test_saved_model import logits_of
from tests.export.server import foreign
from tests.export.server.running import serving
from tests.worlds.served import columns, request

pytestmark = pytest.mark.full
RAW = columns(rows=5, seed=83)


def interpreter(package):
    """A Python that has a package, if one does."""
    listed = os.environ.get("FOREIGN_CLIENTS", "").split(os.pathsep)
    for each in (sys.executable, *filter(None, listed)):
        done = subprocess.run(
            [each, "-c", f"import {package}"], capture_output=True, timeout=120
        )
        if not done.returncode:
            return each
    return None


@pytest.mark.parametrize("kind", foreign.PACKAGES)
def test_scores_are_the_run_s(published, run_dir, kind):
    package = foreign.PACKAGES[kind]
    python = interpreter(package)
    if python is None:
        pytest.skip(f"no interpreter of FOREIGN_CLIENTS has {package}")
    body = {
        name: (value.dtype.kind == "i", value.tolist())
        for name, value in request(RAW).items()
    }
    base = os.path.dirname(published)
    with serving(base, engine="onnx", with_grpc=True) as server:
        done = subprocess.run(
            [
                python,
                foreign.__file__,
                kind,
                f"127.0.0.1:{server.port}",
                f"127.0.0.1:{server.grpc_port}",
            ],
            input=json.dumps(body),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    want = 1 / (1 + np.exp(-logits_of(run_dir, RAW).astype(float)))
    found = json.loads(done.stdout)
    assert len(found) == {"triton": 8, "kserve": 3, "min_tfs": 2}[kind]
    for probabilities in found:
        np.testing.assert_allclose(probabilities, want, rtol=0, atol=1e-5)
