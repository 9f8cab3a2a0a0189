"""What a library user's process imports, and what it cannot have."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.worlds import small_models, small_runs
from tests.worlds.small_models import CONFIG

WITHOUT_TFRS = """
import json, sys
sys.modules["pandas"] = None  # Keras imports it, and it pyarrow
import numpy as np
import wukong_tf
from tests.worlds import small_models

found = {}
model = wukong_tf.load_run(sys.argv[1])
inputs = small_models.inputs(5)
found["scores"] = np.asarray(model(inputs)["click"]).ravel().tolist()
made = wukong_tf.Wukong(small_models.CONFIG)
made.compile("adam", {"click": "mse"})
found["loaded"] = sorted(
    name for name in sys.modules
    if name.split(".")[0]
    in ("tensorflow_recommenders", "tf_keras", "trainer", "export", "pyarrow")
    or name == "wukong_tf.embeddings.tfrs_tables"
)
import tensorflow as tf
found["tf_keras"] = tf.keras.__version__
try:
    wukong_tf.Wukong(small_models.CONFIG, lookup="tfrs")
    found["error"] = None
except ImportError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def without_tfrs(tmp_path_factory):
    """What a process without TF_USE_LEGACY_KERAS found of a run."""
    run_dir = tmp_path_factory.mktemp("run")
    model = small_models.make()
    small_runs.write_run(run_dir, CONFIG, {1: model})
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND")
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TFRS, str(run_dir)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return model, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_library_user_imports_neither_tfrs_nor_the_trainer(without_tfrs):
    model, found = without_tfrs
    assert found["loaded"] == []
    scores = small_models.numpy(model(small_models.inputs(5))["click"])
    np.testing.assert_allclose(found["scores"], scores.ravel(), rtol=1e-5)


@pytest.mark.slow
def test_without_legacy_keras_the_error_names_the_variable(without_tfrs):
    _, found = without_tfrs
    assert found["tf_keras"].startswith("3.")
    assert found["error"] is not None
    assert "TF_USE_LEGACY_KERAS=1" in found["error"]
    assert 'lookup="take"' in found["error"]
