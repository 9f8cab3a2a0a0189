"""Layers and array metrics need no TensorFlow, the configuration no Keras."""

import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from tests import tiers
from tests.oracles import blocks

ROOT = Path(__file__).resolve().parents[2]

BLOCK = """
import sys

from importlib import machinery

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            return machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        name = spec.name
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Absent())
"""

# Keras's NumPy backend imports jax and scipy for convolutions, transforms and
# linear algebra alone. Where they are not installed, the last finder asked
# gives hollow modules, which do for the rest.
STAND_INS = """
import types
from importlib import machinery
from unittest import mock

class Hollow(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock()

class HollowFinder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"jax", "scipy"}:
            return machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Hollow(spec.name)

    def exec_module(self, module):
        pass

sys.meta_path.append(HollowFinder())
"""

FORWARD = """
import numpy as np
import wukong_tf.layers
import wukong_tf.metrics
import keras

labels, scores = np.array([0.0, 1.0]), np.array([0.2, 0.7])
assert wukong_tf.metrics.exact_auc(labels, scores) == 1.0
assert keras.backend.backend() == BACKEND, keras.backend.backend()
stack = wukong_tf.layers.InteractionStack(2, (3, 2), 2, 3, (6,))
x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
y = keras.ops.convert_to_numpy(stack(x))
full = wukong_tf.layers.FactorizationMachineBlock(2, None, (5,), fm="full")
assert tuple(full(x).shape) == (4, 2, 8)
weights = {w.path.split("/", 1)[1]: np.array(w) for w in stack.weights}
np.savez(OUTPUT, x=x, y=y, **weights)
found = [name for name in sys.modules if name.split(".")[0] in BLOCKED]
assert not found, found
"""

CONFIG = """
import wukong_tf.config

vector = wukong_tf.config.VectorFeature("v", 2)
spec = wukong_tf.config.FeatureSpec(vector=(vector,))
config = wukong_tf.config.WukongConfig(spec)
assert wukong_tf.config.model_config_from_dict(config.to_dict()) == config
"""


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", tiers.first(["jax", "numpy", "torch"]))
def test_the_layers_run_where_tensorflow_is_absent(backend, tmp_path):
    if backend != "numpy" and util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    output = tmp_path / "output.npz"
    constants = (
        "BLOCKED = {'tensorflow', 'tf_keras', 'tensorflow_recommenders'}\n"
        f"BACKEND = {backend!r}\nOUTPUT = {str(output)!r}\n"
    )
    stand_ins = STAND_INS if backend == "numpy" else ""
    code = constants + BLOCK + stand_ins + FORWARD
    result = run(code, KERAS_BACKEND=backend)
    assert result.returncode == 0, result.stderr
    arrays = dict(np.load(output))
    x, y = arrays.pop("x"), arrays.pop("y")
    expected = blocks.interaction_stack(
        x.astype(np.float64),
        {path: weight.astype(np.float64) for path, weight in arrays.items()},
    )
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_configuration_needs_no_keras():
    result = run(f"BLOCKED = {{'keras', 'tensorflow'}}\n{BLOCK}{CONFIG}")
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_block_blocks():
    """The other tests prove nothing unless this import fails."""
    result = run(f"BLOCKED = {{'tensorflow'}}\n{BLOCK}import tensorflow")
    assert "No module named 'tensorflow'" in result.stderr
