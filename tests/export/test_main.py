"""The command line: what it publishes and what it refuses."""

import os
import re
import shutil

import numpy as np
import pytest

import wukong_tf
from export.formats import saved_model
from export.formats.onnx import model as onnx_model
from tests.export.conftest import run_main
from tests.export.formats.test_saved_model import logits_of, served
from tests.worlds.served import columns, make_run, request
from wukong_tf import runs


def tree(folder):
    """Relative path to bytes, of everything in a directory."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(parent, name), folder)] = None
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def refused(output, *args):
    """The error of a command that must leave `output` as it is."""
    before = tree(output)
    code, _, error = run_main(f"--output={output}", *args)
    assert (code, tree(output)) == (2, before)
    assert error.startswith("error: ")
    return error


@pytest.fixture
def output(tmp_path):
    """An output that holds an earlier version."""
    os.makedirs(tmp_path / "exports" / "4")
    (tmp_path / "exports" / "4" / "saved_model.pb").write_text("old")
    return str(tmp_path / "exports")


@pytest.fixture
def copied_run(run_dir, tmp_path):
    return shutil.copytree(run_dir, tmp_path / "run")


def test_one_format_writes_no_other(run_dir, output):
    args = (f"--run_dir={run_dir}", f"--output={output}")
    code, out, error = run_main(*args, "--format=onnx", "--checkpoint=20")
    assert code == 0, error
    assert "step 20" in out and re.search("onnx +logit", out)
    version = max(os.listdir(output), key=int)
    assert sorted(os.listdir(os.path.join(output, version))) == [
        "README.md",
        "examples",
        "features.json",
        "manifest.json",
        "onnx",
    ]
    assert set(os.listdir(output)) == {"4", version}


@pytest.mark.full
def test_the_checkpoint_is_the_one_asked_for(run_dir, output):
    args = (f"--run_dir={run_dir}", f"--output={output}", "--version=2")
    code, out, _ = run_main(
        *args, "--format=saved_model", "--checkpoint=latest"
    )
    assert code == 0
    assert "version 4 is higher" in out
    raw = columns(seed=31)
    got = served(os.path.join(output, "2"))(request(raw))["logit"]
    latest = logits_of(run_dir, raw, checkpoint=20)
    assert np.max(np.abs(latest - logits_of(run_dir, raw))) > 0.1
    np.testing.assert_allclose(got, latest, rtol=0, atol=1e-5)
    assert not os.path.exists(os.path.join(output, "2", "onnx"))


@pytest.mark.full
def test_a_run_in_bfloat16_is_exported_in_float32(tmp_path):
    run = make_run(str(tmp_path / "run"), precision="bfloat16")
    output = str(tmp_path / "exports")
    args = (f"--run_dir={run}", f"--output={output}", "--version=1")
    code, _, error = run_main(*args, "--format=saved_model")
    assert code == 0, error
    raw = columns(seed=41)
    got = served(os.path.join(output, "1"))(request(raw))["logit"]
    exact = logits_of(run, raw)
    rounded = logits_of(run, raw, dtype="mixed_bfloat16")
    assert np.max(np.abs(exact - rounded)) > 1e-3
    np.testing.assert_allclose(got, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("module", [saved_model, onnx_model])
@pytest.mark.full
def test_another_model_s_scores_are_not_published(
    run_dir, output, monkeypatch, module
):
    write = module.write

    def perturbed(served, folder, *args):
        bias = served.model.weights[-1]
        bias.assign_add([0.01])
        written = write(served, folder, *args)
        bias.assign_add([-0.01])
        return written

    monkeypatch.setattr(module, "write", perturbed)
    error = refused(output, f"--run_dir={run_dir}", f"--format={module.NAME}")
    assert re.search(f"{module.NAME}( serving_default)? +logit 1.0e-02", error)
    assert "nothing is published" in error


def test_a_version_that_exists_is_refused(run_dir, output):
    error = refused(output, f"--run_dir={run_dir}", "--version=4")
    assert "--version=4 already exists" in error


def test_a_missing_run_is_refused(tmp_path, output):
    error = refused(output, f"--run_dir={tmp_path / 'nowhere'}")
    assert "nowhere is not a directory" in error


def test_a_directory_that_is_no_run_is_refused(tmp_path, output):
    assert "no checkpoint" in refused(output, f"--run_dir={tmp_path}")


def test_a_missing_checkpoint_is_refused(run_dir, output):
    for which in ("15", "newest"):
        args = (f"--run_dir={run_dir}", f"--checkpoint={which}")
        error = refused(output, *args)
        assert which in error and "[10, 20]" in error


def test_a_corrupted_checkpoint_is_refused(copied_run, output):
    checkpoint = runs.find_checkpoint(str(copied_run))
    file = checkpoint.entries["tables/things"]["file"]
    path = os.path.join(checkpoint.path, file)
    with open(path, "r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-3, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    error = refused(output, f"--run_dir={copied_run}")
    assert "corrupted checkpoint" in error and "tables/things" in error


def test_missing_samples_are_refused(copied_run, output):
    os.remove(copied_run / runs.SAMPLES)
    error = refused(output, f"--run_dir={copied_run}", "--format=saved_model")
    assert "samples.parquet" in error


@pytest.mark.parametrize(
    ("flag", "match"),
    [
        ("--format=tflite", "--format.*'tflite'"),
        ("--format=", "--format must name"),
        ("--run_dir=", "--run_dir is required"),
        ("stray", "unexpected arguments"),
    ],
)
def test_wrong_flags_are_refused(run_dir, output, flag, match):
    error = refused(output, f"--run_dir={run_dir}", flag)
    assert re.search(match, error)


def test_an_interrupt_publishes_nothing(run_dir, output, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(wukong_tf.runs, "find_checkpoint", interrupted)
    before = tree(output)
    code, _, error = run_main(f"--run_dir={run_dir}", f"--output={output}")
    assert (code, tree(output)) == (130, before)
    assert "nothing was published" in error
