"""The ladder on a GPU trains as Keras does, and continues a study."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.scaling_law import results_file

ROOT = Path(__file__).resolve().parents[2]
LADDER = ROOT / "benchmarks" / "ladder.json"

AS_KERAS_DOES = """
import keras, numpy as np
from benchmarks import lanes as side_by_side
from trainer.data.interaction_log import InteractionLog
from trainer.data.synthetic_source import SyntheticSource
from wukong_tf.config import DCNv2Config, WukongConfig
from wukong_tf.models import build_model
from wukong_tf.optimizers import RowwiseAdagrad, table_optimizer

spec = InteractionLog().spec
source = SyntheticSource(InteractionLog(), "train", 64 * 5)
split = side_by_side.read(source, spec.tasks[0])
x = {name: np.asarray(values) for name, values in split.columns.items()}
y = {"click": np.asarray(split.labels)}
sizes = dict(embedding_dim=4, head_units=(8,))
layers = dict(num_layers=2, num_fmb=3, num_lcb=3, rank=4, mlp_units=(8,))
for config in (
    WukongConfig(spec, **sizes, **layers),
    DCNv2Config(spec, **sizes, num_cross_layers=2),
):
    rates, seeds = (0.001, 0.01), (1, 2)
    lanes = side_by_side.Lanes(config, rates, seeds, 0.3, 64, 3)
    losses = [lanes.train(split, 0, 3), lanes.train(split, 3, 5)]
    assert [each.shape for each in losses] == [(3, 2), (2, 2)]
    side_by_side.SCORED = 100  # does not divide the rows
    loglosses, logits = lanes.scores(split)
    assert logits.shape == (2, 320)
    for lane, (rate, seed) in enumerate(zip(rates, seeds)):
        keras.utils.set_random_seed(seed)
        model = build_model(config)
        model.compile(
            table_optimizer(RowwiseAdagrad(0.3), keras.optimizers.Adam(rate)),
            {"click": keras.losses.BinaryCrossentropy(from_logits=True)},
        )
        first = model.evaluate(
            {k: v[:64] for k, v in x.items()},
            {k: v[:64] for k, v in y.items()},
            verbose=0,
        )
        np.testing.assert_allclose(losses[0][0, lane], first, rtol=1e-5)
        before = [np.array(v) for v in model.trainable_variables]
        model.fit(x, y, batch_size=64, shuffle=False, verbose=0)
        after = [np.array(v) for v in model.trainable_variables]
        moved = max(np.abs(a - b).max() for a, b in zip(after, before))
        assert moved > 0.1
        for ours, theirs in zip(lanes.state[0], after):
            np.testing.assert_allclose(ours[lane], theirs, atol=1e-5)
        loss = model.evaluate(x, y, verbose=0)
        np.testing.assert_allclose(loglosses[lane], loss, rtol=1e-5)
        own = model.predict(x, verbose=0)["click"].ravel()
        np.testing.assert_allclose(logits[lane], own, atol=1e-4)
"""

WITHOUT_TENSORFLOW = """
import runpy, sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("tensorflow"):
            raise ImportError(f"{name} is hidden")

sys.meta_path.insert(0, Hidden())
runpy.run_module("benchmarks.gpu_ladder", run_name="__main__", alter_sys=True)
"""


def python(code, *arguments):
    """Standard output of a program on JAX."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_lanes_train_as_keras_does():
    python(AS_KERAS_DOES)


@pytest.mark.full
def test_it_continues_a_study_without_tensorflow(tmp_path):
    content = json.loads(LADDER.read_text(encoding="utf-8"))
    study = content["study"]
    study |= {"rows": 2560, "search_rows": 2560, "evaluations": 3}
    for split, rows in (("train", 2560), ("valid", 900), ("test", 1000)):
        name = f"synthetic_{split}_rows"
        study["flags"][name] = f"--{name}={rows}"
    content |= {"searches": [], "runs": []}
    before = tmp_path / "study.json"
    before.write_text(json.dumps(content), encoding="utf-8")
    output = tmp_path / "out"
    command = (
        *(f"--study={before}", f"--output={output}", "--cpu"),
        *("--rungs=0.3", "--learning_rates=0.0005,0.001", "--seeds=1,2"),
    )
    models = ["mlp", "dcn_v2", "rank_mixer"]
    first = python(WITHOUT_TENSORFLOW, f"--models={','.join(models)}", *command)
    result = json.loads(first.splitlines()[-1])
    assert result["value"] > 0 and not result["missing"]
    path = output / results_file.RESULTS
    made, searches, runs = results_file.read(str(path))
    assert [each["learning_rate"] for each in searches] == 3 * [0.0005, 0.001]
    assert {(run.model, run.seed) for run in runs} == {
        *itertools.product(models, (1, 2))
    }
    late = python(
        WITHOUT_TENSORFLOW, "--models=mlp,wukong", *command, "--seconds=0"
    )
    missing = json.loads(late.splitlines()[-1])["missing"]
    assert missing == ["wukong 0.3m: not begun"]
    assert all(rows <= 2560 for run in runs for rows, _ in run.curve)
    assert [rows for rows, _ in runs[0].curve] == [1024, 2048, 2560]
    assert "jax" in made["versions"]
    content["runs"] = [{**runs[0].to_dict(), "rung": "other"}]
    before.write_text(json.dumps(content), encoding="utf-8")
    assert len(results_file.merged([str(before), str(path)])[2]) == 7
