"""Run directories with checkpoints of small models, that tests may spoil."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.worlds import small_models
from trainer.checkpoints import store
from wukong_tf import runs
from wukong_tf.config import ModelConfig
from wukong_tf.models import ClickModel
from wukong_tf.runs.arrays import model_slots, read_slots

STEPS = (1, 2, 10)
INPUTS = small_models.inputs(5)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    """A run of three checkpoints; no test changes it."""
    return write(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run_dir(pristine, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(pristine, tmp_path / "run")


def write_config(run_dir: Path, config: ModelConfig, **training) -> None:
    """Writes features.json and config.json, with settings of the training."""
    run_dir.mkdir(parents=True, exist_ok=True)
    model = config.to_dict()
    features = model.pop("features")
    training = {"precision": "float32", "seed": 0, "batch_size": 8} | training
    content = {
        "format": runs.FORMAT,
        "model": model,
        "training": training,
        "data": {},
    }
    (run_dir / runs.CONFIG).write_text(json.dumps(content))
    (run_dir / runs.FEATURES).write_text(json.dumps(features))


def write_run(
    run_dir: Path,
    config: ModelConfig,
    models: dict[int, ClickModel],
    **training,
) -> None:
    """Writes a run directory with a checkpoint of each model, by step."""
    write_config(run_dir, config, **training)
    for step, each in models.items():
        arrays = read_slots(model_slots(each))
        store.save(str(run_dir), step, {"of": step}, arrays)


def make(step: int) -> ClickModel:
    """Returns the model whose weights are in the checkpoint of `step`."""
    return small_models.make(seed=step)


def write(parent: Path) -> Path:
    """Writes a run in `parent` with a checkpoint of each of STEPS."""
    run_dir = parent / "run"
    models = {step: make(step) for step in STEPS}
    write_run(run_dir, small_models.CONFIG, models)
    return run_dir


def scores(model: ClickModel) -> np.ndarray:
    """Returns the logits of a few rows."""
    return small_models.numpy(model(INPUTS)["click"])


def folder(run_dir: Path, step: int = STEPS[-1]) -> Path:
    """Returns the directory of a checkpoint."""
    return run_dir / runs.CHECKPOINTS / f"step-{step:010d}"


def array_file(run_dir: Path) -> Path:
    """Returns the file of an array of the newest checkpoint."""
    index = json.loads((folder(run_dir) / runs.INDEX).read_text())
    return folder(run_dir) / index["arrays"]["tables/user"]["file"]


def edit(path: Path, change) -> None:
    """Edits checkpoint.json with `change`, and updates its digest."""
    index = path / runs.INDEX
    content = json.loads(index.read_text())
    del content["digest"]
    content = change(content) or content
    content["digest"] = runs.digest(content)
    index.write_text(json.dumps(content))


def replace_array(path: Path, raw: bytes) -> None:
    """Writes `raw` to the file of an array, and updates all checksums."""

    def change(content):
        entry = content["arrays"]["tables/user"]
        (path / entry["file"]).write_bytes(raw)
        entry["sha256"] = hashlib.sha256(raw).hexdigest()

    edit(path, change)
