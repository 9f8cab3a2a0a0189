"""Both artifacts, scored where nothing of this project can be imported."""

import subprocess
import sys

import numpy as np
import pytest

from tests import tiers
from tests.conftest import ROOT
from tests.export.formats.test_saved_model import logits_of
from tests.worlds.served import columns, request

# TensorFlow looks for Keras where it is installed, and may find it there; to
# import it is the error.
BLOCKED = """
import sys
from importlib.machinery import ModuleSpec
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            spec = ModuleSpec(name, self, is_package=True)
            spec.submodule_search_locations.append("/nowhere")
            return spec
    def create_module(self, spec):
        raise ImportError(spec.name + " is blocked")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocked())
import numpy as np
artifact, requests, scores = sys.argv[1:]
raw = dict(np.load(requests))
"""
SAVED_MODEL = """
import tensorflow as tf
function = tf.saved_model.load(artifact).signatures["serving_default"]
logit = function(**{k: tf.constant(v) for k, v in raw.items()})["logit"]
np.save(scores, logit.numpy())
"""
ONNX = """
import onnxruntime
session = onnxruntime.InferenceSession(artifact + "/onnx/model.onnx")
np.save(scores, session.run(["logit"], raw)[0])
"""
# As a server does: its own messages for the warm-up file, tensors by name.
V1_SESSION = """
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
session = tf.compat.v1.Session(graph=tf.Graph())
with session.graph.as_default():
    meta = tf.compat.v1.saved_model.load(session, ["serve"], artifact)
def run(name, columns):
    signature = meta.signature_def[name]
    feed = {signature.inputs[k].name: v for k, v in columns.items()}
    fetch = {k: v.name for k, v in signature.outputs.items()}
    return session.run(fetch, feed)
path = artifact + "/assets.extra/tf_serving_warmup_requests"
replayed = 0
for record in tf.compat.v1.io.tf_record_iterator(path):
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof("log_type")
    sent = getattr(log, kind).request
    if kind == "predict_log":
        columns = {k: tf.make_ndarray(v) for k, v in sent.inputs.items()}
    else:
        examples = sent.input.example_list.examples
        columns = {"inputs": [e.SerializeToString() for e in examples]}
    run(sent.model_spec.signature_name, columns)
    replayed += 1
assert replayed == 20, replayed
np.save(scores, run("serving_default", raw)["logit"])
"""
FOR_ONNX = ("tensorflow", "tf2onnx", "onnx", "pyarrow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "also"),
    tiers.first([(SAVED_MODEL, ()), (ONNX, FOR_ONNX), (V1_SESSION, ())], 2),
    ids=["saved_model", "onnx", "v1_session"],
)
def test_scores_equal_the_run(run_dir, published, tmp_path, body, also):
    raw = columns(seed=51)
    np.savez(tmp_path / "raw.npz", **request(raw))
    ours = ("wukong_tf", "trainer", "export", "keras", "tf_keras")
    blocked = (*ours, "tensorflow_recommenders", *also)
    code = BLOCKED.format(blocked=blocked) + body
    assert not str(tmp_path).startswith(str(ROOT))
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code]
        + [published, str(tmp_path / "raw.npz"), str(tmp_path / "got.npy")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    got = np.load(tmp_path / "got.npy")
    np.testing.assert_allclose(got, logits_of(run_dir, raw), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_help_needs_no_tensorflow(tmp_path):
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "sys.argv = ['export', '--help']\n"
        "import runpy\n"
        "runpy.run_module('export.main', None, '__main__', True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    for flag in ("run_dir", "output", "format", "checkpoint", "version"):
        assert f"  --{flag}=" in ended.stdout, ended.stderr
