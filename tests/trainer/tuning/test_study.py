"""What identifies a study, so that another is not mixed with it."""

import dataclasses
import subprocess
import sys

import pytest

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


def test_each_process_finds_the_same_default_sizes():
    code = "from trainer.tuning import study; print(study.versions_of())"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert found.strip() == str(study.versions_of())
