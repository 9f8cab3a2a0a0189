"""What is wrong in a run directory is found before the first step."""

import json
import os
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainer.cli import arguments, run
from tests.worlds import clicks, small_runs
from trainer.checkpoints import run_directory
from trainer.data.held_out import open_files
from trainer.loop.metrics_log import MetricsLog
from trainer.loop.restore import best_checkpoint
from trainer.modes import train as train_mode
from wukong_tf import runs
from wukong_tf.errors import RunError

STEPS = 6


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


@pytest.fixture(autouse=True)
def unreported(monkeypatch):
    """Reports take most of such a run's time, and are not looked at."""
    monkeypatch.setattr(train_mode, "report", lambda session: None)


def train(log_dir, run_dir, **options):
    return run(
        *arguments(
            data_dir=log_dir,
            run_dir=run_dir,
            **{
                "model": "logistic_regression",
                "batch_size": 100,
                "eval_every_steps": 2,
                "max_steps": STEPS,
                "keep_checkpoints": 9,
                **options,
            },
        )
    )


@pytest.fixture(scope="module")
def trained(log_dir, tmp_path_factory):
    """A run of three evaluations; no test changes it."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_mode, "report", lambda session: None)
        assert train(log_dir, run_dir) == 0
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def be_a_file(path):
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("")


def be_a_directory(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def be_a_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def be_a_broken_link(path):
    shutil.rmtree(path)
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    "name, change, rule",
    [
        ("tensorboard", be_a_file, "must be a directory of the run"),
        ("checkpoints", be_a_file, "must be a directory of the run"),
        ("report", be_a_file, "must be a directory of the run"),
        ("lock", be_a_directory, "must be a file of the run"),
        ("metrics.jsonl", be_a_directory, "must be a file of the run"),
        (runs.CONFIG, be_a_directory, "must be a file of the run"),
        ("lock", be_a_pipe, "but is a pipe, socket or device"),
        ("metrics.jsonl", be_a_pipe, "but is a pipe, socket or device"),
        ("checkpoints/best.json", be_a_pipe, "must be a file of the run"),
        ("checkpoints/best.json", be_a_directory, "must be a file of the run"),
        ("checkpoints", be_a_broken_link, "but is a broken link"),
        (runs.CONFIG, os.remove, "is missing, but there are checkpoints"),
        (runs.FEATURES, os.remove, "cannot be read"),
        (
            runs.DATA,
            lambda path: path.write_text("[]"),
            "is not a valid record",
        ),
        (
            runs.DATA,
            lambda path: path.write_text(
                re.sub('"[0-9a-f]{64}"', "7", path.read_text())
            ),
            "is not a valid record",
        ),
    ],
)
def test_what_stands_in_the_way_is_named(
    log_dir, run_dir, capsys, name, change, rule
):
    change(run_dir / name)
    assert train(log_dir, run_dir, max_steps=STEPS + 2) == 2
    said = capsys.readouterr().err
    assert f"error: {run_dir / name}: " in said and rule in said
    assert "Traceback" not in said


def test_a_lost_best_checkpoint_is_replaced_before_training(
    log_dir, run_dir, capsys
):
    path = dict(runs.checkpoint_paths(str(run_dir)))

    def first_is_best(content):
        for number, each in enumerate(content["state"]["evaluations"]):
            each |= {"value": 0.1 + number / 10, "best": number == 0}

    small_runs.edit(Path(path[STEPS]), first_is_best)
    shutil.rmtree(path[2])
    # Nothing is left to train: only the start can put it right.
    assert train(log_dir, run_dir) == 0
    said = capsys.readouterr().err
    assert "the best checkpoint is lost" in said and "step 2" in said
    assert runs.find_checkpoint(str(run_dir), "best").step == 4


def test_a_whole_checkpoint_of_another_run_is_refused(
    log_dir, run_dir, tmp_path, capsys
):
    """Though it is of the same flags, and a later step."""
    other = tmp_path / "other"
    assert train(log_dir, other, max_steps=STEPS + 2) == 0
    assert runs.identity(str(other)) != runs.identity(str(run_dir))
    foreign = runs.checkpoint_paths(str(other))[-1][1]
    here = run_dir / runs.CHECKPOINTS / os.path.basename(foreign)
    shutil.copytree(foreign, here)
    assert train(log_dir, run_dir, max_steps=STEPS + 4) == 2
    said = capsys.readouterr().err
    assert f"error: {here}: is a checkpoint of another run" in said
    shutil.rmtree(here)
    assert train(log_dir, run_dir, max_steps=STEPS + 4) == 0


@pytest.mark.parametrize("lose", ["remove", "corrupt", "note"])
def test_a_best_checkpoint_that_is_lost_under_a_run_costs_no_report(
    log_dir, run_dir, capsys, monkeypatch, lose
):
    """The best of the others is reported, and not simply the latest."""
    paths = dict(runs.checkpoint_paths(str(run_dir)))

    def order(content):
        values = (0.1, 0.2, 0.3)
        for each, value in zip(
            content["state"]["evaluations"], values, strict=True
        ):
            each |= {"value": value, "best": value == 0.1}

    small_runs.edit(Path(paths[STEPS]), order)
    reported = []

    def report(session):
        if lose == "remove":
            shutil.rmtree(paths[2])
        elif lose == "corrupt":
            (Path(paths[2]) / runs.INDEX).write_text("{")
        else:
            (run_dir / runs.CHECKPOINTS / runs.BEST).unlink()
        reported.append(best_checkpoint(session).step)

    monkeypatch.setattr(train_mode, "report", report)
    assert train(log_dir, run_dir) == 0
    assert reported == [2 if lose == "note" else 4]
    assert runs.best_step(str(run_dir)) == reported[0]
    lost = "the best checkpoint is lost" in capsys.readouterr().err
    assert lost == (lose != "note")


def test_a_last_record_without_its_line_end_is_kept(log_dir, run_dir):
    path = run_dir / "metrics.jsonl"
    before = path.read_text()
    path.write_text(before.removesuffix("\n"))
    assert train(log_dir, run_dir, max_steps=STEPS + 2) == 0
    after = path.read_text()
    assert after.startswith(before)
    assert all(json.loads(line)["step"] for line in after.splitlines())


def test_no_record_goes_to_what_took_the_directory_s_place(tmp_path, capsys):
    """An evaluation may take long, and another run may begin meanwhile."""
    path = tmp_path / "run"
    with run_directory.locked(str(path)) as held:
        records = MetricsLog(str(path), 0, held.check)
        path.rename(tmp_path / "moved")
        path.mkdir()
        records.write("train", 1, {"loss": 1.0})
        assert list(path.iterdir()) == []
    assert "was deleted, moved or replaced" in capsys.readouterr().err


@pytest.mark.parametrize("change", [os.remove, be_a_directory, be_a_pipe])
@pytest.mark.parametrize("name", [runs.CONFIG, runs.FEATURES])
def test_a_claimed_directory_keeps_its_configuration(tmp_path, name, change):
    """Without it no checkpoint can be read again."""
    with run_directory.locked(str(tmp_path / "run")) as held:
        held.claim({"model": {"model": "mlp"}, "training": {}}, clicks.SPEC)
        held.check()
        change(tmp_path / "run" / name)
        rule = f"{name} was removed or replaced while the run was writing"
        with pytest.raises(RunError, match=rule):
            held.check()


def test_a_run_from_before_a_setting_keeps_what_it_did(tmp_path):
    """The norms' epsilon was 1e-5 before it was a setting; the default is 1."""
    before = {
        "format": runs.FORMAT,
        "training": {},
        "model": {"model": "wukong"},
    }

    def claim_with(epsilon):
        model = {"model": "wukong", "norm_epsilon": epsilon}
        held.claim({**before, "model": model}, clicks.SPEC)

    with run_directory.locked(str(tmp_path / "run")) as held:
        held.claim(before, clicks.SPEC)
        with pytest.raises(RunError, match="norm_epsilon was 1e-05, is 1.0"):
            claim_with(1.0)
        claim_with(1e-5)


def test_a_run_may_get_test_rows_later(tmp_path):
    def content(**rows):
        model = {"model": "mlp"}
        parts = {"model": model, "training": {}, "data": rows}
        return {"format": runs.FORMAT, **parts}

    with run_directory.locked(str(tmp_path / "run")) as held:
        held.claim(content(train=9, valid=2, test=None), clicks.SPEC)
        held.claim(content(train=9, valid=2, test=5), clicks.SPEC)
        for other in (content(train=9, valid=2, test=4), content(train=9)):
            with pytest.raises(RunError, match=r"data\.test was 5"):
                held.claim(other, clicks.SPEC)
        with pytest.raises(RunError, match=r"data\.valid was 2, is 3"):
            held.claim(content(train=9, valid=3, test=5), clicks.SPEC)


def test_records_wait_for_no_pipe_s_reader(tmp_path, capsys):
    records = MetricsLog(str(tmp_path), 0)
    path = tmp_path / "metrics.jsonl"
    be_a_pipe(path)
    records.write("train", 1, {"loss": 1.0})
    assert f"{path} is a pipe, socket or device" in capsys.readouterr().err
    path.unlink()
    records.write("train", 2, {"loss": 0.5})
    assert path.read_text().count("loss") == 2


def test_spoilt_samples_are_taken_again(log_dir, tmp_path):
    source = open_files([f"{log_dir}/test.parquet"], clicks.SPEC)
    path = tmp_path / runs.SAMPLES
    for content in (b"PAR1", b""):
        path.write_bytes(content)
        run_directory.write_held_out(str(tmp_path), "test", source)
        assert pq.read_table(path).num_rows == min(source.num_rows, 1024)


def test_events_that_cannot_be_written_end_no_run(
    log_dir, tmp_path, capsys, monkeypatch
):
    def refuse(folder):
        raise tf.errors.PermissionDeniedError(None, None, f"{folder}: refused")

    monkeypatch.setattr(tf.summary, "create_file_writer", refuse)
    assert train(log_dir, tmp_path / "run") == 0
    assert "TensorBoard's events cannot be written" in capsys.readouterr().err
