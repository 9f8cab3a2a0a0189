"""manifest.json says what the version is."""

import datetime
import hashlib
import json
import os
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from tests.worlds.served import CONFIG, ROWS, SPEC
from wukong_tf import runs


@pytest.fixture(scope="module")
def manifest(published):
    return json.loads(Path(published, "manifest.json").read_text())


def test_names_the_run_and_its_checkpoint(manifest, run_dir):
    assert manifest["version"] == 7
    assert manifest["run"] == "small"
    assert manifest["checkpoint"]["step"] == 10
    assert manifest["formats"] == ["saved_model", "onnx"]
    assert set(manifest["precision"].values()) == {"float32"}
    assert manifest["smaller_forms"] is None
    assert manifest["model_name"] == "model"
    assert str(Path(run_dir).parent) not in json.dumps(manifest)


def test_describes_the_model_and_its_features(manifest):
    model = CONFIG.to_dict()
    features = model.pop("features")
    assert manifest["model"] == json.loads(json.dumps(model))
    assert manifest["features"]["digest"] == runs.digest(SPEC.to_dict())
    columns = manifest["features"]["columns"]
    assert columns["categorical"][0] == {
        "name": "user",
        "num_ids": 11,
        "oov_id": 2,
    }
    assert columns["vector"] == features["vector"]


def test_every_file_is_listed_with_its_checksum(manifest, published):
    found = {}
    for parent, _, names in os.walk(published):
        for name in names:
            path = Path(parent, name)
            content = path.read_bytes()
            found[str(path.relative_to(published))] = {
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    del found["manifest.json"]
    del found["README.md"]  # may be edited
    assert manifest["files"] == found
    assert {
        "saved_model.pb",
        "onnx/model.onnx",
        "variables/variables.index",
    } <= set(found)
    assert os.path.isdir(os.path.join(published, "assets"))


def test_parity_figures(manifest):
    parity = manifest["parity"]
    assert parity["rows"] == ROWS
    assert set(parity["tolerance"].values()) == {1e-4}
    assert parity["out_of_range_ids"] == {
        "read_as_oov_id": ["user", "site"],
        "refused": ["item", "other"],
    }
    probabilities = parity["max_abs_probability_difference"]
    assert set(probabilities) == {
        "saved_model",
        "saved_model tf_example",
        "saved_model regress",
        "saved_model classify",
        "c_api",
        "onnx",
    }
    logits = parity["max_abs_logit_difference"]
    without = ("saved_model regress", "saved_model classify")
    assert all(logits.pop(name) is None for name in without)
    figures = [*probabilities.values(), *logits.values()]
    assert all(0 <= figure <= 1e-4 for figure in figures)


def test_versions_and_time(manifest):
    versions = manifest["versions"]
    assert versions["tensorflow"] == tf.__version__
    assert versions["keras"] == keras.__version__
    assert {"python", "onnx", "onnxruntime", "tf2onnx"} <= set(versions)
    created = datetime.datetime.fromisoformat(manifest["created"])
    assert created.utcoffset() == datetime.timedelta(0)
