"""Settings of all tests."""

import os
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
# Both are read when TensorFlow is first imported; TFRS needs the second.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"
if os.environ.get("KERAS_BACKEND") == "jax":  # half of the time is LLVM's
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0"
        " --xla_llvm_disable_expensive_passes=true",
    )

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tests.properties import profile  # noqa: E402


def pytest_report_header():
    """Returns the number of examples and the seed of property tests."""
    return profile.header()


@pytest.fixture(autouse=True)
def no_recording():
    """Disables PyTorch's autograd, so that tensors can be read as arrays."""
    if os.environ.get("KERAS_BACKEND") != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Seeds all random numbers, so that tests do not depend on their order."""
    random.seed(1)
    np.random.seed(1)
    # Only if imported, as importing Keras takes seconds.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(1)
