"""Runs that trackers follow, as the services' own files show them."""

import json
import shutil
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest

from tests.trainer.cli import SIZES, arguments, run
from tests.trainer.tracking.services import (
    SECRET,
    lacks,
    only_run,
    params,
    wandb_history,
)
from trainer.checkpoints import run_directory
from trainer.tracking import process
from trainer.tracking.hparams import HParams
from trainer.tracking.trackers import Tracked
from wukong_tf.errors import RunError

OPTIONS = {
    **SIZES,
    "synthetic": True,
    "synthetic_train_rows": 1200,
    "synthetic_valid_rows": 300,
    "synthetic_test_rows": 300,
    "batch_size": 100,
    "eval_every_steps": 4,
}


def records(run_dir, kind):
    lines = (Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


def history(folder, tag):
    """Numbers by step of MLflow's file of a metric; none is twice."""
    lines = (folder / "metrics" / tag).read_text().splitlines()
    numbers = {int(step): float(n) for _, n, step in map(str.split, lines)}
    assert len(numbers) == len(lines)
    return numbers


def stop_at(step):
    """Makes a run stop, as by a signal, at a step."""
    from trainer.loop.session import Session

    def stops(self):
        self.stopped = self.stopped or self.progress.step >= step
        return self.stopped

    return mock.patch.object(Session, "should_stop", stops)


@pytest.mark.full
@lacks("mlflow")
@lacks("wandb")
def test_a_resumed_run_is_one_run_in_every_tracker(stores, tmp_path, capsys):
    run_dir = str(tmp_path / "run")
    flags = arguments(
        **OPTIONS,
        run_dir=run_dir,
        track=["mlflow", "wandb", "tensorboard"],
        track_tags="team=ads",
    )
    with stop_at(4):
        assert run(*flags) == 75
    assert "status: 5" in (only_run(stores) / "meta.yaml").read_text()
    assert run(*flags) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    report = json.loads((Path(run_dir) / "report/metrics.json").read_text())
    evaluated = {
        record["step"]: record["click"]["auc"]
        for record in records(run_dir, "valid")
    }
    # MLflow.
    folder = only_run(stores)
    assert f"mlflow: run {folder.name} resumes" in said
    assert "status: 3" in (folder / "meta.yaml").read_text()
    assert params(folder)["batch_size"] == "100"
    assert (folder / "tags" / "team").read_text() == "ads"
    assert history(folder, "valid/click/auc") == pytest.approx(evaluated)
    assert history(folder, "train/loss") == pytest.approx(
        {r["step"]: r["loss"] for r in records(run_dir, "train")}
    )
    assert history(folder, "report/test/click/auc") == pytest.approx(
        {12: report["test"]["click"]["auc"]}
    )
    page = folder / "artifacts/report/index.html"
    assert page.read_bytes() == Path(run_dir, "report/index.html").read_bytes()
    # Weights & Biases.
    name = json.loads(Path(run_dir, "config.json").read_text())["run"]
    first, second = sorted(
        Path(run_dir).glob(f"tracking/wandb/offline-*-{name}/*.wandb")
    )
    sent = [*wandb_history(first), *wandb_history(second)]
    assert {
        items["step"]: items["valid/click/auc"]
        for items in sent
        if "valid/click/auc" in items
    } == pytest.approx(evaluated)
    steps = [items["step"] for items in sent if "train/loss" in items]
    assert steps == [r["step"] for r in records(run_dir, "train")]
    assert "report/test/click/auc" in sent[-1]
    staged = Path(run_dir, "tracking/artifacts/staging").iterdir()
    assert page.read_bytes() in [file.read_bytes() for file in staged]
    # No credential is written.
    for path in filter(Path.is_file, Path(tmp_path).rglob("*")):
        assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in said
    check_hparams(run_dir, name, report)


def check_hparams(run_dir, name, report):
    """Reads what TensorBoard's HParams tab would read."""
    import tensorflow as tf
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data, scalars = {}, {}
    for path in sorted(Path(run_dir, "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "hparams":
                    content = HParamsPluginData.FromString(plugin.content)
                    data[value.tag] = content
                else:
                    scalars[value.tag] = float(tf.make_ndarray(value.tensor))
    started = data["_hparams_/session_start_info"].session_start_info
    assert started.group_name == name
    assert started.hparams["batch_size"].number_value == 100
    assert started.hparams["model"].string_value == "wukong"
    assert started.hparams["team"].string_value == "ads"
    ended = data["_hparams_/session_end_info"].session_end_info
    assert ended.status == 1  # success
    assert scalars["report/test/click/auc"] == pytest.approx(
        report["test"]["click"]["auc"], rel=1e-6
    )


@pytest.mark.slow
def test_trackers_that_fail_cost_a_run_lines(tmp_path, monkeypatch, capsys):
    hangs = (sys.executable, "-c", "import time; time.sleep(600)")
    monkeypatch.setattr(process, "PROGRAM", hangs)
    monkeypatch.setattr(process, "FINISHED_S", 0.2)
    options = OPTIONS | {"run_dir": str(tmp_path / "run"), "plots": False}
    with (
        mock.patch("trainer.modes.early.require"),
        mock.patch(
            "tensorboard.plugins.hparams.summary_v2.hparams_pb",
            side_effect=TypeError("no such type"),
        ),
    ):
        tracked = arguments(**options, track=["mlflow", "tensorboard"])
        assert run(*tracked) == 0
    said = capsys.readouterr().err
    assert "--track=mlflow: the tracker did not begin in time" in said
    assert "--track=tensorboard: the tracker failed (no such type)" in said
    assert records(options["run_dir"], "valid")


def test_trackers_end_at_the_same_time(capsys):
    """Two that hang cost a run one wait, not two."""
    both = threading.Barrier(2, timeout=20)
    waits = mock.Mock(finish=lambda status: both.wait())
    Tracked(mock.Mock(), {"mlflow": waits, "wandb": waits}).finish("finished")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, error",
    [
        (["--track=mlfow"], "--track must be distinct names of ['mlflow', "),
        (["--track=wandb,wandb"], "received 'wandb,wandb'"),
        (
            ["--track_tags=a"],
            "--track_tags must be KEY=VALUE,...; received 'a'",
        ),
    ],
)
def test_invalid_flags_are_refused(flags, error, tmp_path, capsys):
    assert run("--synthetic", f"--run_dir={tmp_path / 'run'}", *flags) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("package", ["mlflow", "wandb", "tensorboard"])
def test_a_missing_package_is_an_error_before_tensorflow(
    package, tmp_path, monkeypatch, capsys
):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda n, *a: None if n == package else find(n, *a)
    )
    with mock.patch(
        "trainer.process.loading.load_tensorflow", side_effect=AssertionError
    ):
        code = run(
            "--synthetic", f"--run_dir={tmp_path / 'run'}", f"--track={package}"
        )
    assert code == 2
    said = capsys.readouterr().err
    extra = "report" if package == "tensorboard" else package
    assert f"error: --track={package}: {package} cannot be imported" in said
    assert f"[{extra}]'" in said


@lacks("tensorboard")
def test_hparams_make_no_deleted_directory_anew(tmp_path):
    run_dir = tmp_path / "run"
    with run_directory.locked(str(run_dir)) as held:
        tracker = HParams(str(run_dir), held.check)
        shutil.rmtree(run_dir)
        with pytest.raises(RunError, match="was deleted, moved or replaced"):
            tracker.finish("failed")
    assert not run_dir.exists()
