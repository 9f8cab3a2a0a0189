"""Checkpoints written beside training: what waits, what is tried again."""

import errno
import os
import threading
import types

import keras
import numpy as np
import pytest

from tests.waiting import until
from trainer.checkpoints import arrays, store, writer
from trainer.checkpoints.writer import CheckpointWriter, Retention
from wukong_tf import runs
from wukong_tf.errors import RunError, TrainingError
from wukong_tf.runs.arrays import NamedArray, read_slots

KEEP = Retention(newest=2, every=0, metric="logloss")


class Weights:
    """An array that goes on changing after it was given away."""

    def __init__(self):
        self.variable = keras.Variable(np.zeros(1000, np.float32))

    def __call__(self):
        return read_slots([NamedArray("dense/x", self.variable)])

    def set(self, value):
        self.variable.assign(np.full(1000, value, np.float32))


@pytest.fixture
def said():
    return []


@pytest.fixture
def weights():
    return Weights()


def make(tmp_path, said, **options):
    options = {"retry_s": 0.05, "retention": KEEP, **options}
    retention = options.pop("retention")
    return CheckpointWriter(str(tmp_path), retention, said.append, **options)


def steps(tmp_path):
    return [step for step, _ in runs.checkpoint_paths(str(tmp_path))]


def hold(monkeypatch):
    """Writing waits for the event that is given back."""
    go, original = threading.Event(), store.save

    def save(*args):
        assert go.wait(30)
        return original(*args)

    monkeypatch.setattr(store, "save", save)
    return go


def fail(monkeypatch, times):
    """The first so many writes fail as on a full disk."""
    left, original = [times], store.save

    def save(run_dir, step, *args):
        if left[0]:
            left[0] -= 1
            raise RunError(f"step {step} could not be written: disk full.")
        return original(run_dir, step, *args)

    monkeypatch.setattr(store, "save", save)
    return left


def test_training_goes_on_while_a_copy_is_written(
    tmp_path, said, weights, monkeypatch
):
    go = hold(monkeypatch)
    made = make(tmp_path, said)
    weights.set(1)
    made.save(1, {"of": 1}, weights)
    weights.set(2)  # training, before anything is written
    assert not steps(tmp_path) and not made.take_saved()
    go.set()
    made.close()
    ((_, path),) = runs.checkpoint_paths(str(tmp_path))
    found = runs.open_checkpoint(path)
    np.testing.assert_array_equal(found["dense/x"], np.ones(1000))
    assert found.state == {"of": 1}
    (saved,) = made.take_saved()
    assert (saved.path, saved.step) == (path, 1)
    assert saved.bytes > 4000 and 0 <= saved.waited <= saved.seconds + 1
    assert "MB in" in said[0] and "training waited" in said[0]
    assert made.take_saved() == []


def test_a_second_one_waits_for_the_first(tmp_path, said, weights, monkeypatch):
    go = hold(monkeypatch)
    now = [0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(writer, "time", clock)
    made = make(tmp_path, said)
    made.save(1, {}, weights)
    until(lambda: made._writing)
    wait = made._wait_for_writing

    def waited():
        now[0] += 7.0
        go.set()
        wait()

    with monkeypatch.context() as patch:
        patch.setattr(made, "_wait_for_writing", waited)
        made.save(2, {}, weights)
    made.close()
    assert steps(tmp_path) == [1, 2]
    assert [saved.waited for saved in made.take_saved()] == [0.0, 7.0]


@pytest.mark.parametrize("in_background", [True, False])
def test_one_that_fails_is_tried_again(
    tmp_path, said, weights, monkeypatch, in_background
):
    fail(monkeypatch, 2)
    made = make(tmp_path, said, in_background=in_background)
    weights.set(3)
    made.save(1, {}, weights, best=0.5)
    weights.set(4 if in_background else 3)
    until(lambda: steps(tmp_path))
    made.close()
    assert steps(tmp_path) == [1] and runs.best_step(str(tmp_path)) == 1
    found = runs.find_checkpoint(str(tmp_path))
    assert (found["dense/x"] == 3).all()
    assert sum("Retrying in 0.05 s" in line for line in said) == 2


def test_a_newer_one_takes_the_place_of_one_that_fails(
    tmp_path, said, weights, monkeypatch
):
    left = fail(monkeypatch, 10**6)
    made = make(tmp_path, said, retry_s=60)
    made.save(1, {}, weights)
    until(lambda: said)
    left[0] = 0
    weights.set(5)
    made.save(2, {}, weights)
    made.close()
    assert steps(tmp_path) == [2]
    assert any("step 1 is replaced by a newer one" in line for line in said)


@pytest.mark.parametrize("in_background", [True, False])
def test_a_disk_that_stays_full_ends_the_run(
    tmp_path, said, weights, monkeypatch, in_background
):
    fail(monkeypatch, 10**6)
    made = make(tmp_path, said, in_background=in_background)
    made.save(7, {}, weights)
    with pytest.raises(RunError, match="step 7 could not be written"):
        made.close()
    assert not steps(tmp_path)


def test_after_an_error_nothing_is_tried_again(
    tmp_path, said, weights, monkeypatch
):
    left = fail(monkeypatch, 10**6)
    made = make(tmp_path, said, retry_s=60)
    made.save(7, {}, weights)
    until(lambda: said)
    before = left[0]
    made.close(tries=0)
    assert left[0] == before


def test_nothing_is_written_to_what_took_the_directory_s_place(
    tmp_path, said, weights
):
    def check():
        raise RunError("it was replaced")

    writing = make(tmp_path, said, check=check)
    writing.save(1, {}, weights)
    with pytest.raises(RunError, match="it was replaced"):
        writing.close()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_end_the_run(tmp_path, said, weights):
    made = make(tmp_path, said)
    weights.set(np.nan)
    made.save(1, {}, weights)
    with pytest.raises(TrainingError, match="no longer finite"):
        made.close()
    assert not steps(tmp_path)
    made = make(tmp_path, said, in_background=False)
    with pytest.raises(TrainingError, match="no longer finite"):
        made.save(1, {}, weights)


def test_without_memory_for_a_copy_training_waits(
    tmp_path, said, weights, monkeypatch
):
    monkeypatch.setattr(writer, "available_bytes", lambda: 5000)
    made = make(tmp_path, said)
    made.save(1, {}, weights)
    assert steps(tmp_path) == [1] and made._thread is None
    monkeypatch.setattr(writer, "available_bytes", lambda: 6000)
    made.save(2, {}, weights)
    assert made._thread is not None
    made.close()


def test_the_newest_the_best_and_every_nth_are_kept(tmp_path, said, weights):
    made = make(
        tmp_path, said, retention=Retention(newest=2, every=10, metric="auc")
    )
    for step in range(1, 28):
        made.save(step, {}, weights, best=0.1 if step == 7 else None)
    made.close()
    assert steps(tmp_path) == [7, 10, 20, 26, 27]


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_memory(*arguments, **options):
    raise MemoryError


def test_a_disk_that_is_full_for_the_best_one_s_note_ends_no_run(
    tmp_path, said, weights, monkeypatch
):
    """And what can be removed to make room is removed."""
    made = make(tmp_path, said)
    for step in (1, 2, 3):
        made.save(step, {}, weights, best=0.5 if step == 1 else None)
    made._wait_for_writing()
    # The index of the checkpoint fits, and the note does not.
    write = store.files.write_json
    with monkeypatch.context() as patch:
        patch.setattr(
            store.files,
            "write_json",
            lambda path, content: (
                full_disk()
                if path.endswith(runs.BEST)
                else write(path, content)
            ),
        )
        made.save(4, {}, weights, best=0.7)
        until(lambda: any("Retrying in" in line for line in said))
        assert steps(tmp_path) == [1, 3, 4]
    made.close()
    assert runs.best_step(str(tmp_path)) == 4 and steps(tmp_path) == [3, 4]


def test_what_cannot_be_removed_ends_no_run(
    tmp_path, said, weights, monkeypatch
):
    made = make(tmp_path, said)
    for step in (1, 2):
        made.save(step, {}, weights)
    made._wait_for_writing()
    with monkeypatch.context() as patch:
        patch.setattr(store.os, "rename", full_disk)
        patch.setattr(store.files, "replace_folder", os.replace)
        made.save(3, {}, weights)
        made._wait_for_writing()
    assert any("cannot be removed" in line for line in said)
    (tmp_path / runs.CHECKPOINTS / runs.BEST).write_text("{")
    made.save(4, {}, weights)
    made._wait_for_writing()
    assert any("No checkpoint is removed" in line for line in said)
    made.save(5, {}, weights, best=1.0)
    made.close()
    assert steps(tmp_path) == [4, 5]


@pytest.mark.parametrize("place", ["copy", "write"])
def test_a_limit_on_memory_ends_no_run(
    tmp_path, said, weights, monkeypatch, place
):
    made = make(tmp_path, said)
    with monkeypatch.context() as patch:
        if place == "copy":
            names = {"prod": np.prod, "int64": np.int64, "asarray": no_memory}
            patch.setattr(writer, "np", types.SimpleNamespace(**names))
        else:
            patch.setattr(arrays, "_check_finite", no_memory)
        made.save(1, {}, weights)
        until(lambda: said or place != "write")
    made.close()
    assert steps(tmp_path) == [1]
    assert (place == "write") == any("out of memory" in line for line in said)
