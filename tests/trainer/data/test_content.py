"""The data of a run are known by their content, not by name or time."""

import hashlib
import json
import os
import shutil
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.errors import message
from tests.trainer.cli import arguments, run
from tests.trainer.distribution.test_agreement import Peers
from tests.worlds import clicks, logs
from trainer.data import content
from trainer.data.parquet import ParquetSource
from trainer.distribution.agreement import SameFiles
from trainer.loop import records, session
from trainer.modes import train as train_mode
from wukong_tf import files, runs
from wukong_tf.errors import ContentError, DataError

ROWS = 6000


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    """A log whose train file has a middle that its outline leaves out."""
    folder = clicks.write_log(str(tmp_path_factory.mktemp("log")))
    logs.write(f"{folder}/train.parquet", clicks.columns(ROWS, 3), 500)
    assert os.path.getsize(f"{folder}/train.parquet") > 2**17 + 2**15
    return folder


@pytest.fixture
def copy(log_dir, tmp_path):
    shutil.copytree(log_dir, tmp_path / "log")
    return str(tmp_path / "log")


@pytest.fixture(autouse=True)
def unreported(monkeypatch):
    """Reports take most of such a run's time, and are not looked at."""
    monkeypatch.setattr(train_mode, "report", lambda session: None)


def train(copy, tmp_path, **options):
    """Trains a few steps of a small model; returns the exit code."""
    return run(
        *arguments(
            data_dir=copy,
            run_dir=tmp_path / "run",
            **{
                "model": "logistic_regression",
                "batch_size": 100,
                "steps_per_loop": 1,
                "max_steps": 3,
                "checkpoint_every_steps": 3,
                "keep_checkpoints": 99,
                "eval_every_steps": 100,
                "shuffle_rows": 600,
                **options,
            },
        )
    )


def keeping_times(path, change):
    """Lets `change` alter a file, and puts its time stamp back."""
    before = os.stat(path)
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_the_middle(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def reverse(path):
    table = pq.read_table(path)
    rows = np.arange(table.num_rows)[::-1]
    pq.write_table(table.take(rows), path, row_group_size=500)


def steps(tmp_path):
    return [n for n, _ in runs.checkpoint_paths(str(tmp_path / "run"))]


def test_a_file_s_outline_has_its_size_ends_and_whole_footer(log_dir, tmp_path):
    path = str(tmp_path / "copy.parquet")
    shutil.copy(f"{log_dir}/train.parquet", path)
    before = content.outline(path)
    data = open(path, "rb").read()
    footer = int.from_bytes(data[-8:-4], "little")
    for place in (0, 2**16 - 1, len(data) - footer - 8, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        open(path, "wb").write(changed)
        assert content.outline(path) != before
    open(path, "wb").write(data)
    assert content.outline(path) == before


@pytest.mark.parametrize(
    "change", [flip_the_middle, pytest.param(reverse, marks=pytest.mark.full)]
)
def test_a_changed_file_with_its_old_time_stamp_is_refused(
    copy, tmp_path, capsys, change
):
    assert train(copy, tmp_path) == 0
    noted = json.loads((tmp_path / "run" / runs.DATA).read_text())["files"]
    path = f"{copy}/train.parquet"
    data = open(path, "rb").read()
    assert noted["train"][0]["sha256"] == hashlib.sha256(data).hexdigest()
    assert set(noted) == {"train", "valid", "test"}
    keeping_times(path, change)
    assert train(copy, tmp_path, max_steps=6) == 2
    said = capsys.readouterr().err
    assert f"error: {path}: is not the file that the run was trained on" in said
    assert steps(tmp_path)[-1] == 3  # nothing was trained with it
    open(path, "wb").write(data)  # a new time, and the old content
    os.rename(copy, f"{copy}-moved")
    assert train(f"{copy}-moved", tmp_path, max_steps=6) == 0
    assert steps(tmp_path)[-1] == 6


def swap(path, change=lambda path: None):
    other = f"{path}.other"
    shutil.copy2(path, other)
    keeping_times(other, change)
    os.replace(other, path)


@pytest.mark.full
def test_a_file_swapped_under_a_run_is_refused(
    copy, tmp_path, capsys, monkeypatch
):
    path = f"{copy}/train.parquet"
    record = records.WriteTraining.__call__
    change = None

    def at_a_step(self, progress, window):
        record(self, progress, window)
        if progress.step == 4:
            swap(path, change)

    monkeypatch.setattr(records.WriteTraining, "__call__", at_a_step)
    options = {"max_steps": 70, "steps_per_loop": 2, "epochs": 2}
    change = lambda path: None  # noqa: E731 - another file of one content
    assert train(copy, tmp_path, **options) == 0
    shutil.rmtree(tmp_path / "run")
    change = flip_the_middle
    assert train(copy, tmp_path, **options) == 2
    said = capsys.readouterr().err
    assert f"error: {path}: was changed while" in said
    assert "must not change until it has ended" in said


def test_what_was_prepared_is_what_is_trained_on(copy, tmp_path, capsys):
    path = f"{copy}/train.parquet"
    listed = [{"file": "train.parquet", "sha256": files.sha256(path)}]
    with open(f"{copy}/manifest.json", "w") as file:
        json.dump({"files": listed}, file)
    flip_the_middle(path)
    assert train(copy, tmp_path) == 2
    said = capsys.readouterr().err
    assert f"{path}: was changed since trainer.prepare wrote it" in said
    assert not steps(tmp_path)
    flip_the_middle(path)
    assert train(copy, tmp_path) == 0


@pytest.mark.full
def test_checkpoints_that_saw_other_data_are_set_aside(
    copy, tmp_path, capsys, monkeypatch
):
    """Where reading a file whole takes longer than a run waits for it."""
    assert train(copy, tmp_path) == 0
    path = f"{copy}/train.parquet"
    keeping_times(path, flip_the_middle)
    sha256 = files.sha256

    def slow(path):
        while path.endswith(".parquet") and steps(tmp_path)[-1] < 6:
            time.sleep(0.01)
        return sha256(path)

    monkeypatch.setattr(session, "LONGEST_WAIT_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", slow)
        assert train(copy, tmp_path, max_steps=600, epochs=10) == 2
    said = capsys.readouterr().err
    assert f"{path}: is not the file that the run was trained on" in said
    assert "checkpoints of steps that had read it were set aside" in said
    assert steps(tmp_path) == [3]
    flip_the_middle(path)
    assert train(copy, tmp_path, max_steps=6) == 0


@pytest.mark.full
def test_a_stop_does_not_make_steps_on_other_data_part_of_the_run(
    copy, tmp_path, capsys, monkeypatch
):
    """Where a process ended before it had read its files whole."""
    assert train(copy, tmp_path) == 0
    path = f"{copy}/train.parquet"
    keeping_times(path, flip_the_middle)
    sha256, read = files.sha256, threading.Event()

    def slow(path):
        return sha256(path) if path[-8:] != ".parquet" or read.wait(60) else ""

    monkeypatch.setattr(session, "LONGEST_WAIT_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", slow)
        assert train(copy, tmp_path, max_steps=6) == 0
        read.set()
    assert steps(tmp_path) == [3, 6]
    monkeypatch.undo()
    monkeypatch.setattr(train_mode, "report", lambda session: None)
    assert train(copy, tmp_path, max_steps=9) == 2
    assert "1 checkpoints of steps" in capsys.readouterr().err
    assert steps(tmp_path) == [3]
    flip_the_middle(path)
    assert train(copy, tmp_path, max_steps=6) == 0
    assert steps(tmp_path) == [3, 6]


def test_neither_the_end_nor_a_stop_waits_for_files(
    copy, tmp_path, monkeypatch
):
    """What was not read by then is read by the next process."""
    read = threading.Event()
    sha256 = files.sha256

    def slow(path):
        return sha256(path) if read.wait(600) else ""

    def noted():
        found = json.loads((tmp_path / "run" / runs.DATA).read_text())
        return found["files"]["train"][0]["sha256"]

    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", slow)
        assert train(copy, tmp_path) == 0
        assert noted() is None
        source = ParquetSource([f"{copy}/train.parquet"], clicks.SPEC)
        stopped = content.Contents({"train": source})
        stopped.start()
        stopped.wait(600, lambda: True)
        assert not stopped.complete
        read.set()
    assert train(copy, tmp_path, max_steps=4) == 0
    assert noted() == sha256(f"{copy}/train.parquet")


def test_files_that_differ_between_workers_are_named(copy):
    source = ParquetSource([f"{copy}/train.parquet"], clicks.SPEC)
    mine = content.Contents({"train": source})
    mine.start()
    mine.wait(60, lambda: False)
    assert mine.complete
    kept: list = []
    same = SameFiles(Peers([]), mine, kept.append)
    same()
    same()
    assert kept == [mine.record()]  # once

    class Other(Peers):
        """Worker 1 has read other bytes."""

        def gather(self, value):
            if "digest" in value:
                return [value, {**value, "digest": "another"}]
            return [value, {name: 64 * "f" for name in value}]

    said = message(ContentError, SameFiles(Other([]), mine))
    digest = files.sha256(source.paths[0])
    assert (
        f"the train file train.parquet is {digest} for worker 0 and "
        f"{64 * 'f'} for worker 1" in said
    )


def test_a_file_that_cannot_be_read_whole_is_named(copy):
    path = f"{copy}/train.parquet"
    found = content.Contents({"train": ParquetSource([path], clicks.SPEC)})
    os.remove(path)
    found.start()
    found.wait(60, lambda: False)
    assert not found.complete
    said = message(DataError, SameFiles(Peers([]), found))
    assert "cannot be read" in said and path in said
