"""Checkpoints are written whole, kept, and passed over where spoilt."""

import errno
import hashlib
import json
import operator
import os
import re
import shutil

import numpy as np
import pytest

from tests.errors import message
from tests.worlds.small_runs import STEPS, folder
from trainer.checkpoints import store
from wukong_tf import runs
from wukong_tf.errors import RunError, TrainingError


def test_a_checkpoint_is_a_mapping_of_what_was_saved(tmp_path):
    saved = {
        "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.int64(7),
        "none": np.zeros((0, 4), np.float16),
        "../odd name:1": np.array([True, False]),
    }
    path, size = store.save(str(tmp_path), 12, {"k": [1, None]}, saved.items())
    files = [f"{path}/{name}" for name in os.listdir(path)]
    assert size == sum(map(os.path.getsize, files))
    assert os.path.dirname(path) == str(tmp_path / runs.CHECKPOINTS)
    found = runs.open_checkpoint(path)
    assert (found.step, found.state, len(found)) == (12, {"k": [1, None]}, 4)
    assert list(found) == list(saved)
    for name, value in saved.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
    entries = json.loads((tmp_path / path / runs.INDEX).read_text())["arrays"]
    for name, entry in entries.items():
        assert entry["shape"] == list(saved[name].shape)
        assert entry["dtype"] == str(saved[name].dtype)
        raw = open(os.path.join(path, entry["file"]), "rb").read()
        assert entry["sha256"] == hashlib.sha256(raw).hexdigest()


def test_a_step_is_saved_again_in_place_of_itself(run_dir):
    store.save(str(run_dir), 2, {"again": 1}, [("x", np.ones(2))])
    found = runs.open_checkpoint(folder(run_dir, 2))
    assert (list(found), found.state) == (["x"], {"again": 1})
    names = sorted(os.listdir(run_dir / runs.CHECKPOINTS))
    assert names == [f"step-{step:010d}" for step in STEPS]


def test_arrays_are_taken_one_at_a_time(tmp_path):
    def arrays():
        for index in range(3):
            yield f"a{index}", np.full(2, index)
            beside = [p for p in tmp_path.rglob("*.npy")]
            assert len(beside) == index + 1

    store.save(str(tmp_path), 1, {}, arrays())


def test_a_checkpoint_that_cannot_be_written_leaves_the_others(run_dir):
    def arrays():
        yield "x", np.ones(3)
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="step 11 .*No space left"):
        store.save(str(run_dir), 11, {}, arrays())
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == list(STEPS)
    names = sorted(os.listdir(run_dir / runs.CHECKPOINTS))
    assert names == [f"step-{step:010d}" for step in STEPS]
    for _, path in runs.checkpoint_paths(run_dir):
        runs.open_checkpoint(path)


@pytest.fixture
def synced(monkeypatch):
    """What is made durable and what is renamed, in order.

    Files go by their inode, which a rename keeps.
    """
    events = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def note(kind, call):
        def noted(source, target):
            events.append((kind, os.stat(source).st_ino, target))
            call(source, target)

        return noted

    def synced(handle):
        info = os.fstat(handle)
        events.append(("sync", info.st_ino, info.st_size))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", note("rename", rename))
    monkeypatch.setattr(os, "replace", note("rename", replace))
    return events


def places(events, path, kind="sync"):
    """When a file or directory was synced, or renamed to its place."""
    inode = os.stat(path).st_ino
    return [n for n, e in enumerate(events) if e[:2] == (kind, inode)]


def test_a_checkpoint_is_durable_before_it_can_be_seen(tmp_path, synced):
    """A crash of the machine leaves it whole or leaves it out."""
    arrays = {"x": np.ones((3, 2)), "y": np.zeros(5)}
    path, _ = store.save(str(tmp_path), 1, {}, arrays.items())
    (shown,) = places(synced, path, "rename")
    assert synced[shown][2] == path
    names = os.listdir(path)
    assert len(names) == 3
    for name in names:
        file = os.path.join(path, name)
        whens = places(synced, file)
        assert whens and whens[-1] < shown, name
        # All of it, not what had been written by then.
        assert synced[whens[-1]][2] == os.path.getsize(file), name
    assert places(synced, path)[-1] < shown, "the names in it"
    assert places(synced, os.path.dirname(path))[-1] > shown, "its own name"


def test_the_note_of_the_best_is_durable(run_dir, synced):
    store.mark_best(str(run_dir), 2, "auc", 0.7)
    path = run_dir / runs.CHECKPOINTS / runs.BEST
    (shown,) = places(synced, path, "rename")
    (when,) = places(synced, path)
    assert when < shown and synced[when][2] == path.stat().st_size


def test_a_run_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunError, match="could not be written"):
        store.save(str(tmp_path / "run"), 1, {}, [])


def test_what_a_killed_writer_left_is_not_seen(run_dir):
    left = run_dir / runs.CHECKPOINTS / ".unfinished-0000000099"
    left.mkdir()
    (left / runs.INDEX).write_text("{}")
    (run_dir / runs.CHECKPOINTS / "step-new").mkdir()
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == list(STEPS)
    store.remove_unfinished(str(run_dir))
    assert not left.exists()
    assert folder(run_dir).exists()


def test_the_newest_whole_is_the_newest(pristine, tmp_path):
    lines = []
    assert store.newest_whole(pristine, lines.append).step == 10
    assert store.newest_whole(tmp_path, lines.append) is None
    assert lines == []


def test_all_corrupted_is_an_error(run_dir):
    lines = []
    for step in STEPS:
        (folder(run_dir, step) / runs.INDEX).unlink()
    with pytest.raises(RunError, match="all 3 checkpoints are corrupted"):
        store.newest_whole(run_dir, lines.append)
    assert [re.findall(r"step-0+(\d+)", line)[0] for line in lines] == [
        "10",
        "2",
        "1",
    ]


@pytest.mark.parametrize(
    ("best", "keep", "left"),
    [(1, 1, [1, 10]), (2, 2, [2, 10]), (None, 2, [2, 10]), (1, 9, [1, 2, 10])],
)
def test_prune_keeps_the_newest_and_the_best(run_dir, best, keep, left):
    if best:
        store.mark_best(run_dir, best, "auc", 0.7)
    store.prune(run_dir, keep)
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == left


def test_weights_that_are_not_finite_are_not_saved(run_dir):
    arrays = [("a", np.ones(2)), ("tables/b", np.array([0, np.inf]))]
    with pytest.raises(TrainingError, match="'tables/b' are no longer finite"):
        store.save(str(run_dir), 11, {}, arrays)
    names = sorted(os.listdir(run_dir / runs.CHECKPOINTS))
    assert names == [f"step-{step:010d}" for step in STEPS]


def test_a_step_under_the_name_of_another_is_passed_over(run_dir):
    """Else it would be the newest for ever, and better ones removed."""
    folder(run_dir, 2).rename(folder(run_dir, 99))
    newest = store.newest_whole(str(run_dir), print)
    assert newest is not None and newest.step == 10
    assert not folder(run_dir, 99).exists()


def test_what_was_passed_over_is_neither_newest_nor_best(run_dir):
    store.mark_best(str(run_dir), 10, "auc", 0.8)
    (folder(run_dir, 10) / runs.INDEX).unlink()
    found = store.newest_whole(str(run_dir), lambda line: None)
    assert found.step == 2
    assert runs.find_checkpoint(str(run_dir), "latest").step == 2
    evaluations = [
        {"step": 1, "value": 0.7, "best": True},
        {"step": 2, "value": 0.6, "best": False},
    ]
    store.restore_best(
        str(run_dir), evaluations, "auc", operator.gt, list().append
    )
    assert runs.best_step(str(run_dir)) == 1
    store.prune(str(run_dir), 1)
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == [1, 2]
    store.mark_best(str(run_dir), 10, "auc", 0.8)
    store.restore_best(str(run_dir), [], "auc", operator.gt, list().append)
    assert runs.best_step(str(run_dir)) is None


def evaluations_of(values, best):
    return [
        {"step": step, "value": value, "best": step == best}
        for step, value in zip(STEPS, values, strict=True)
    ]


@pytest.mark.parametrize("lose", ["remove", "corrupt", "both"])
@pytest.mark.parametrize("better", [operator.gt, operator.lt])
def test_the_best_of_what_is_left_takes_the_place_of_a_lost_one(
    run_dir, lose, better
):
    values = [0.9, 0.7, 0.8] if better is operator.gt else [0.1, 0.3, 0.2]
    evaluations = evaluations_of(values, best=1)
    store.mark_best(str(run_dir), 1, "metric", values[0])
    if lose == "remove":
        shutil.rmtree(folder(run_dir, 1))
    else:
        (folder(run_dir, 1) / "00000.npy").write_bytes(b"")
    if lose == "both":
        shutil.rmtree(folder(run_dir, 10))
    said: list[str] = []
    store.restore_best(str(run_dir), evaluations, "metric", better, said.append)
    left = 2 if lose == "both" else 10
    assert runs.find_checkpoint(str(run_dir), "best").step == left
    assert [e["step"] for e in evaluations if e["best"]] == [left]
    # A later one has to beat this one, not the one that was lost.
    assert evaluations[0]["value"] is None
    assert len(said) == 1 and "the best checkpoint is lost" in said[0]


def test_a_run_without_any_evaluated_checkpoint_has_no_best(run_dir):
    evaluations = [{"step": 5, "value": 0.9, "best": True}]
    store.mark_best(str(run_dir), 5, "auc", 0.9)
    store.restore_best(
        str(run_dir), evaluations, "auc", operator.gt, list().append
    )
    assert runs.find_checkpoint(str(run_dir), "best").step == 10


def name_run(run_dir, name):
    """Gives a run an identity, as the trainer does."""
    config = json.loads((run_dir / runs.CONFIG).read_text())
    (run_dir / runs.CONFIG).write_text(json.dumps({**config, "run": name}))


def test_a_checkpoint_of_another_run_is_refused(run_dir, pristine, tmp_path):
    other = shutil.copytree(pristine, tmp_path / "other")
    name_run(run_dir, "a" * 32)
    name_run(other, "b" * 32)
    # Those of before a run had a name are its own.
    assert runs.find_checkpoint(str(run_dir), "latest").run is None
    for each in (run_dir, other):
        store.save(str(each), 11, {}, [("x", np.ones(2))])
    assert runs.find_checkpoint(str(run_dir), "latest").run == "a" * 32
    store.save(str(other), 12, {}, [("x", np.ones(2))])
    os.rename(folder(other, 12), folder(run_dir, 12))
    for call in (
        lambda: runs.find_checkpoint(str(run_dir), "latest"),
        lambda: store.newest_whole(str(run_dir), list().append),
    ):
        said = message(RunError, call)
        assert f"{folder(run_dir, 12)}: is a checkpoint of another run" in said
        assert "a" * 32 in said and "b" * 32 in said
    assert runs.find_checkpoint(str(run_dir), 11).step == 11


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE])
def test_one_that_may_be_whole_is_not_passed_over(run_dir, monkeypatch, code):
    """Its permissions or the limits of the process are no fault of its."""

    def refuse(path):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(store.files, "sha256", refuse)
    evaluations = evaluations_of([0.9, 0.7, 0.8], best=1)
    for call in (
        lambda: store.newest_whole(str(run_dir), list().append),
        lambda: store.restore_best(
            str(run_dir), evaluations, "auc", operator.gt, list().append
        ),
    ):
        assert os.strerror(code) in message(RunError, call)
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == list(STEPS)
    assert evaluations[0]["best"]


def test_only_numbers_are_steps(run_dir):
    for name in ("step-\u00b2", "step-", "step-1a", "step-\u0663"):
        (run_dir / runs.CHECKPOINTS / name).mkdir()
    assert [step for step, _ in runs.checkpoint_paths(run_dir)] == list(STEPS)
