"""Settings that every test runs under."""

import os
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
# Both are read when TensorFlow is first imported; TFRS wants the second.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tests.properties import profile  # noqa: E402


def pytest_report_header():
    """The examples and the seed of the properties."""
    return profile.header()


@pytest.fixture(autouse=True)
def no_recording():
    """On PyTorch, tensors that can be read as arrays; see tests.backends."""
    if os.environ.get("KERAS_BACKEND") != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


@pytest.fixture(autouse=True)
def fixed_seeds():
    """The same random numbers for a test, whichever ran before it."""
    random.seed(1)
    np.random.seed(1)
    # Keras takes seconds to import, so a test that needs none pays nothing.
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(1)
