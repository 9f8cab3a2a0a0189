"""The quickstart's commands on a small log, then a score without our code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]

# The code of this project and what it is built from cannot be imported.
SCORE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {
            "wukong_tf", "trainer", "export", "tensorflow_recommenders"
        }:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import json
import numpy as np
import onnxruntime
import tensorflow as tf

version = sys.argv[1]
score = tf.saved_model.load(version).signatures["serving_default"]
rows = {
    name: np.zeros([3, *spec.shape[1:]], spec.dtype.as_numpy_dtype)
    for name, spec in score.structured_input_signature[1].items()
}
served = score(**{name: tf.constant(row) for name, row in rows.items()})
session = onnxruntime.InferenceSession(version + "/onnx/model.onnx")
(onnx,) = session.run(["probability"], rows)
print(json.dumps([served["probability"].numpy().tolist(), onnx.tolist()]))
"""


def python(*args):
    """Standard output of a command, which must succeed."""
    result = subprocess.run(
        [sys.executable, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """runs/ and exports/ as the quickstart leaves them, of fewer rows."""
    folder = tmp_path_factory.mktemp("quickstart")
    small = [
        "--synthetic_train_rows=60000",
        "--synthetic_valid_rows=5000",
        "--synthetic_test_rows=5000",
    ]
    logistic = folder / "runs" / "logistic"
    run = folder / "runs" / "wukong"
    python(
        *("-m", "trainer.main"),
        "--flagfile=configs/quickstart_logistic_regression.flags",
        *small,
        f"--run_dir={logistic}",
    )
    python(
        *("-m", "trainer.main", "--flagfile=configs/quickstart.flags"),
        *small,
        f"--run_dir={run}",
        f"--compare_runs={logistic}",
    )
    python(
        *("-m", "export.main", f"--run_dir={run}"),
        f"--output={folder / 'exports'}",
        "--format=saved_model,onnx",
    )
    return folder


def test_the_report_sets_both_models_beside_what_is_attainable(folder):
    report = folder / "runs" / "wukong" / "report"
    metrics = json.loads((report / "metrics.json").read_text())
    for results in (metrics, metrics["compared"]["logistic"]):
        test = results["test"]["click"]
        gain = (test["auc"] - 0.5) / (test["attainable_auc"] - 0.5)
        assert test["attained_share"] == pytest.approx(gain)
        assert 0 < gain < 1
    page = (report / "index.html").read_text()
    assert "data:image/png;base64," in page
    assert "<script" not in page and 'src="http' not in page
    for name in ("learning", "roc", "calibration", "scores"):
        assert (report / f"{name}_click.png").stat().st_size > 5000


def test_the_version_scores_where_our_code_is_absent(folder):
    (version,) = [
        path for path in (folder / "exports").iterdir() if path.name.isdigit()
    ]
    for name in ("saved_model.pb", "variables", "assets", "manifest.json"):
        assert (version / name).exists(), name
    served, onnx = json.loads(python("-c", SCORE, os.fspath(version)))
    np.testing.assert_allclose(served, onnx, atol=1e-5)
    assert all(0 < probability < 1 for probability in served)
    manifest = json.loads((version / "manifest.json").read_text())
    for name in ("saved_model", "onnx"):
        assert manifest["parity"]["max_abs_logit_difference"][name] <= 1e-4
