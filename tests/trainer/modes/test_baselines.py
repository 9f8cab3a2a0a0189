"""Every model goes the same way: features, loop, report, both exports."""

import json
import os

import pytest

from tests import tiers
from tests.export.conftest import exported
from tests.trainer.cli import arguments, run
from tests.worlds import rich_clicks
from wukong_tf import runs
from wukong_tf.config import MODEL_CONFIGS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return rich_clicks.write_log(str(tmp_path_factory.mktemp("log")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", tiers.first(["fm", *sorted(set(MODEL_CONFIGS) - {"wukong", "fm"})])
)
def test_a_baseline_trains_reports_goes_on_and_is_published(
    model, folder, tmp_path
):
    run_dir = str(tmp_path / "run")
    options = {
        "data_dir": folder,
        "run_dir": run_dir,
        "model": model,
        "batch_size": 256,
        "steps_per_loop": 3,
        "table_learning_rate": 0.5,
        "learning_rate": 0.01,
    }
    assert run(*arguments(**options, max_steps=3)) == 0
    assert runs.find_checkpoint(run_dir, "latest").step == 3
    assert run(*arguments(**options, max_steps=9, epochs=3)) == 0
    assert runs.find_checkpoint(run_dir, "latest").step == 9
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        metrics = json.load(file)
    assert metrics["model"]["name"] == model
    assert metrics["cost"]["parameters"] == metrics["model"]["parameters"]
    assert metrics["test"]["click"]["auc"] > 0.55
    output = tmp_path / "exports"
    exported(run_dir, output, "--version=1")
    manifest = json.loads((output / "1" / "manifest.json").read_text())
    assert manifest["formats"] == ["saved_model", "onnx"]
    assert set(manifest["signatures"]["serving_default"]["outputs"]) == {
        f"{task}_{kind}"
        for task in ("click", "buy")
        for kind in ("logit", "probability")
    }
