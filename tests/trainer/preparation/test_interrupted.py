"""A preparation that is stopped, killed or cannot write goes on later."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from tests.trainer.preparation.command import (
    contents,
    prepared,
    run,
)
from tests.trainer.preparation.frappe_files import write_csv
from trainer import prepare
from trainer.preparation import job, outputs, reading, tasks

ROOT = Path(prepare.__file__).parent.parent


def test_an_interrupted_preparation_goes_on(large, tmp_path, monkeypatch):
    source, _ = large
    prepared("frappe", source, tmp_path / "whole", "--shard_mb=1")
    for stop_at in ("count", "make_vocabulary", "encode"):
        original = getattr(tasks, stop_at)
        calls = []

        def stopping(made, item, original=original, calls=calls):
            calls.append(item)
            if len(calls) == 3:
                # As if a process had been killed while it wrote.
                part = made.path("output", "train-00000", "parquet")
                Path(f"{part}.unfinished-1").touch()
                raise KeyboardInterrupt
            original(made, item)

        output = tmp_path / stop_at
        monkeypatch.setattr(tasks, stop_at, stopping)
        code, _, err = run("frappe", source, output, "--shard_mb=1")
        assert code == 130 and "the same command resumes" in err
        assert not output.exists()
        monkeypatch.setattr(tasks, stop_at, original)
        done = []
        monkeypatch.setattr(
            reading,
            "read",
            lambda shard, names, read=reading.read, done=done: (
                done.append(shard.number) or read(shard, names)
            ),
        )
        code, said, err = run("frappe", source, output, "--shard_mb=1")
        monkeypatch.undo()
        assert code == 0, err
        assert "resuming from" in said
        total = len(json.loads((output / "manifest.json").read_text())["files"])
        assert len(done) <= 2 * total - 2
        assert contents(output) == contents(tmp_path / "whole")
        assert not Path(f"{output}.unfinished").exists()


@pytest.mark.parametrize(
    "name, content",
    [
        ("plan.json", b"\0"),
        ("files/00000.json", b"{"),
        ("files/00000.json", b"[]"),
        ("counts/00000.parquet", b"PAR1"),
        ("vocabulary/*.parquet", b""),
        ("done/00000.json", b"[3]"),
    ],
)
def test_spoilt_unfinished_work_is_named(tmp_path, monkeypatch, name, content):
    source = write_csv(tmp_path / "in")
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        full = mock.Mock(side_effect=OSError("full"))
        patch.setattr(outputs, "publish", full)
        assert run("frappe", source, output)[0] == 2
    job._read_vocabularies.cache_clear()  # as in another process
    (path, *_) = Path(f"{output}.unfinished").glob(name)
    path.write_bytes(content)
    code, _, err = run("frappe", source, output)
    assert code == 2 and str(path) in err, err
    if path.name == "plan.json":
        assert f"Remove {path.parent}, which holds unfinished work" in err
        shutil.rmtree(path.parent)
    else:
        assert "Remove it; the same command makes it again." in err
        path.unlink()
    code, _, err = run("frappe", source, output)
    assert code == 0, err


@pytest.mark.slow
def test_a_killed_preparation_goes_on(large, tmp_path):
    source, _ = large
    prepared("frappe", source, tmp_path / "whole", "--shard_mb=1")
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "trainer.prepare", "--dataset=frappe"]
    command += [f"--input={source}", "--shard_mb=1", "--workers=1"]
    command += [f"--output={output}"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    counts = Path(f"{output}.unfinished") / "counts"
    for _ in range(600):
        if counts.is_dir() and len(list(counts.iterdir())) > 1:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, said, err = run("frappe", source, output, "--shard_mb=1")
    assert code == 0, err
    if not output.exists():
        raise AssertionError(said)
    assert contents(output) == contents(tmp_path / "whole")


def _end_at_once(made, item):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.full
def test_a_killed_worker_is_said_and_the_work_kept(
    large, tmp_path, monkeypatch
):
    source, _ = large
    options = ("--shard_mb=1", "--workers=2")
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "encode", _end_at_once)
        code, _, err = run("frappe", source, tmp_path / "out", *options)
    assert code == 2 and "a process was killed" in err
    code, said, err = run("frappe", source, tmp_path / "out", *options)
    assert code == 0 and "resuming from" in said, err


def test_unfinished_work_of_other_flags_is_not_gone_on_with(
    large, tmp_path, monkeypatch
):
    source, _ = large

    def stop(made, item):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "encode", stop)
        run("frappe", source, tmp_path / "out", "--shard_mb=1")
    code, _, err = run("frappe", source, tmp_path / "out", "--shard_mb=2")
    assert code == 2 and "unfinished work of other flags" in err
    assert (tmp_path / "out.unfinished").exists()


def test_two_at_once_are_refused(large, tmp_path, monkeypatch):
    source, _ = large
    errors = []
    original = tasks.count

    def second(made, item):
        if not errors:
            errors.append(run("frappe", source, tmp_path / "out"))
        original(made, item)

    monkeypatch.setattr(tasks, "count", second)
    code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 0, err
    assert errors[0][0] == 2 and "in use by another process" in errors[0][2]


@pytest.mark.parametrize(
    "place", ["os.rename", "pyarrow.parquet.ParquetWriter"]
)
def test_a_disk_that_fails_is_named_and_the_work_kept(
    place, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    source = write_csv(tmp_path / "in")
    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        code, _, err = run("frappe", source, tmp_path / "out")
    assert code == 2
    assert err.startswith(f"error: --output={tmp_path / 'out'} cannot be")
    assert "No space left on device" in err and "resumes" in err
    assert not (tmp_path / "out").exists()
    prepared("frappe", source, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]
