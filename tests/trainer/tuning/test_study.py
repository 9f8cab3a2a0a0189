"""What identifies a study, so that another is not mixed with it."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tests.worlds import clicks
from trainer.settings import command
from trainer.tuning import study
from wukong_tf.config import MODEL_CONFIGS, WukongConfig
from wukong_tf.errors import RunError


def test_another_default_size_is_another_study(tmp_path, monkeypatch):
    content = {"versions": study.versions_of("keras")}
    study.claim(str(tmp_path), content, False)
    study.claim(str(tmp_path), {"versions": study.versions_of("keras")}, True)
    other = dataclasses.make_dataclass(
        "Other",
        [("norm_epsilon", float, 1e-5)],
        bases=(WukongConfig,),
        frozen=True,
    )
    monkeypatch.setitem(MODEL_CONFIGS, "wukong", other)
    now = {"versions": study.versions_of("keras")}
    with pytest.raises(RunError, match="different: versions.default sizes was"):
        study.claim(str(tmp_path), now, True)


def test_the_directory_of_another_program_is_refused(tmp_path):
    study.claim(str(tmp_path), {"trials": 3}, False)
    study.claim(str(tmp_path), {"trials": 4}, False)  # nothing has begun
    with pytest.raises(RunError, match="study.json: is the plan of another"):
        study.claim(str(tmp_path), {"rows": 3}, False)


def test_each_process_finds_the_same_default_sizes():
    code = "from trainer.tuning import study; print(study.versions_of())"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found.strip() == str(study.versions_of())


def test_the_features_are_part_of_the_data(tmp_path):
    log = clicks.write_log(tmp_path)
    settings = command.check(["--run_dir=R", f"--data_dir={log}"])
    before = study.data_of(settings, ("train",), "a study")
    path = tmp_path / "features.json"
    content = json.loads(path.read_text())
    content["numeric"] = content["numeric"][1:]
    path.write_text(json.dumps(content))
    now = study.data_of(settings, ("train",), "a study")
    (text,) = study.changed(before, now)
    assert text.startswith("features.sha256 was ")
