"""Run directories with checkpoints of small models, for corruption tests."""

import hashlib
import json
from pathlib import Path

import numpy as np

from tests import small_models
from wukong_tf import runs
from wukong_tf.models import ClickModel

STEPS = (1, 2, 10)
INPUTS = small_models.inputs(5)


def make(step: int) -> ClickModel:
    """Returns the model whose weights are in the checkpoint of `step`."""
    return small_models.make(seed=step)


def write(parent: Path) -> Path:
    """Writes a run in `parent` with a checkpoint of each of STEPS."""
    run_dir = parent / "run"
    run_dir.mkdir()
    models = {step: make(step) for step in STEPS}
    small_models.write_run(run_dir, small_models.CONFIG, models)
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
