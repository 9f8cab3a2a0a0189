"""Checkpoints that are damaged, or made to do harm, are refused."""

import os
import pickle

import numpy as np
import pytest

import wukong_tf
from tests.worlds import small_runs
from tests.worlds.small_runs import (
    array_file,
    edit,
    folder,
    replace_array,
    scores,
)
from trainer.checkpoints import store
from wukong_tf import files, runs
from wukong_tf.errors import RunError


def flip_byte(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(raw)


def make_directory(path):
    path.unlink()
    path.mkdir()


CORRUPTIONS = {
    "flipped byte": lambda run: flip_byte(array_file(run)),
    "flipped byte in the index": lambda run: flip_byte(
        folder(run) / runs.INDEX
    ),
    "truncated array": lambda run: os.truncate(array_file(run), 100),
    "empty array": lambda run: os.truncate(array_file(run), 0),
    "missing array": lambda run: array_file(run).unlink(),
    "array is a directory": lambda run: make_directory(array_file(run)),
    "missing index": lambda run: (folder(run) / runs.INDEX).unlink(),
    "truncated index": lambda run: os.truncate(folder(run) / runs.INDEX, 50),
    "empty index": lambda run: os.truncate(folder(run) / runs.INDEX, 0),
    "index of bytes": lambda run: (folder(run) / runs.INDEX).write_bytes(
        b"\xff\xfe\x00"
    ),
    "index is a list": lambda run: (folder(run) / runs.INDEX).write_text("[]"),
    "index is a number": lambda run: (folder(run) / runs.INDEX).write_text("1"),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupted_checkpoint_is_refused_and_passed_over(run_dir, corrupt):
    corrupt(run_dir)
    for use in (
        lambda: runs.open_checkpoint(folder(run_dir)),
        lambda: wukong_tf.load_run(run_dir, "latest"),
    ):
        with pytest.raises(RunError, match="step-0000000010"):
            use()
    lines = []
    found = store.newest_whole(run_dir, lines.append)
    assert found.step == 2
    (line,) = lines
    assert "step-0000000010" in line and "Falling back" in line
    loaded = wukong_tf.load_run(run_dir, found.step)
    np.testing.assert_array_equal(scores(loaded), scores(small_runs.make(2)))


def change_text(old, new):
    def change(run_dir):
        index = folder(run_dir) / runs.INDEX
        text = index.read_text()
        assert old in text
        index.write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    "change",
    [
        change_text('"step": 10', '"step": 11'),
        change_text('"of": 10', '"of": 1'),
        change_text('"tables/user"', '"tables/city2"'),
        change_text('"digest": "', '"digest": "0'),
    ],
)
def test_an_edited_index_is_refused(run_dir, change):
    change(run_dir)
    with pytest.raises(RunError, match="does not match its own digest"):
        runs.open_checkpoint(folder(run_dir))


def test_an_array_that_two_files_swapped_is_refused(run_dir):
    first, second = sorted(folder(run_dir).glob("*.npy"))[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(RunError, match=first.name):
        runs.open_checkpoint(folder(run_dir))


def set_entry(**changes):
    def change(content):
        content["arrays"]["tables/user"].update(changes)

    return change


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


HOSTILE = {
    "above": set_entry(file="../../secret.npy"),
    "absolute": set_entry(file="/etc/hostname"),
    "itself": set_entry(file="."),
    "parent": set_entry(file=".."),
    "no name": set_entry(file=""),
    "zero byte": set_entry(file="a\0b"),
    "a number": set_entry(file=3),
    "a list": set_entry(file=["x"]),
    "no file": drop("arrays", "tables/user", "file"),
    "no checksum": drop("arrays", "tables/user", "sha256"),
    "no arrays": drop("arrays"),
    "no state": drop("state"),
    "no step": drop("step"),
    "no format": drop("format"),
    "another format": lambda content: {**content, "format": 99},
    "arrays in a list": lambda content: {**content, "arrays": ["x"]},
    "entries in a list": lambda content: {**content, "arrays": {"x": []}},
    "no entry": lambda content: {**content, "arrays": {"x": None}},
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_index_is_refused(run_dir, change):
    """Whoever can write a digest can write all of checkpoint.json."""
    edit(folder(run_dir), lambda content: None)
    runs.open_checkpoint(folder(run_dir))
    np.save(run_dir / "secret.npy", np.ones((13, 6), np.float32))
    edit(folder(run_dir), change)
    with pytest.raises(RunError):
        runs.open_checkpoint(folder(run_dir))
    lines = []
    assert store.newest_whole(run_dir, lines.append).step == 2
    assert len(lines) == 1


def test_a_file_outside_is_refused_though_its_checksum_holds(run_dir):
    secret = run_dir / "secret.npy"
    np.save(secret, np.ones((13, 6), np.float32))
    sha256 = files.sha256(secret)
    path = os.path.relpath(secret, folder(run_dir))
    edit(folder(run_dir), set_entry(file=path, sha256=sha256))
    with pytest.raises(RunError, match="'tables/user' lies outside"):
        runs.open_checkpoint(folder(run_dir))


class Opens:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickled_array_is_refused_and_not_run(run_dir, tmp_path):
    proof = tmp_path / "proof"
    loot = tmp_path / "loot.npy"
    np.save(loot, np.array([Opens(proof)], dtype=object), allow_pickle=True)
    np.load(loot, allow_pickle=True)
    proof.unlink()  # it would have worked
    raws = [loot.read_bytes(), pickle.dumps(Opens(proof))]
    for raw in raws:
        replace_array(folder(run_dir), raw)
        with pytest.raises(RunError, match="'tables/user'"):
            runs.open_checkpoint(folder(run_dir))["tables/user"]
        with pytest.raises(RunError, match="'tables/user'"):
            wukong_tf.load_run(run_dir, "latest")
    assert not proof.exists()


def test_a_file_of_another_kind_is_refused(run_dir, tmp_path):
    np.savez(tmp_path / "several.npz", x=np.ones((13, 6), np.float32))
    kept = array_file(run_dir).read_bytes()
    for raw in (
        (tmp_path / "several.npz").read_bytes(),
        kept[:-4],
        b"",
        b"text",
    ):
        replace_array(folder(run_dir), raw)
        with pytest.raises(RunError, match="'tables/user'"):
            wukong_tf.load_run(run_dir, "latest")


def test_an_array_of_another_shape_is_refused(run_dir, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((12, 6), np.float32))
    replace_array(folder(run_dir), (tmp_path / "x.npy").read_bytes())
    with pytest.raises(RunError, match=r"'tables/user'.*\(13, 6\).*\(12, 6\)"):
        wukong_tf.load_run(run_dir, "latest")
