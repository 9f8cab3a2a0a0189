"""Workers write their rows of sharded arrays, read as one."""

import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainer.checkpoints import store
from trainer.checkpoints.shards import ShardWriter
from wukong_tf import runs
from wukong_tf.errors import RunError, TrainingError
from wukong_tf.runs.arrays import NamedArray, assign_slots, read_arrays
from wukong_tf.sharding.blocks import Blocks
from wukong_tf.sharding.layout import Shards

ROWS, COUNT = 23, 3
# Two tables in one variable, and their optimizer slots.
RUNS = {"a": (0, 9), "b": (9, ROWS)}
RANDOM = np.random.default_rng(0)
WHOLE = RANDOM.normal(size=(ROWS, 4)).astype(np.float32)
STATE = RANDOM.random(ROWS).astype(np.float32)


class Gather:
    """What the workers of one process gather, each in its thread."""

    def __init__(self):
        self.barrier = threading.Barrier(COUNT, timeout=60)
        self.values = [None] * COUNT

    def of(self, index):
        def gather(value):
            self.values[index] = value
            self.barrier.wait()
            found = list(self.values)
            self.barrier.wait()
            return found

        return gather


def slots_of(index, whole=WHOLE):
    shards = Shards(ROWS, COUNT, index)
    found = []
    for name, values in (("tables", whole), ("optimizer", STATE)):
        variable = SimpleNamespace(
            value=tf.Variable(values[shards.owned(0, ROWS)]),
            shape=(shards.local_rows, *values.shape[1:]),
            dtype="float32",
            shards=shards,
        )
        found += [
            NamedArray(f"{name}/{table}", variable, rows)
            for table, rows in RUNS.items()
        ]
    return found


def write(run_dir, step=5, slots=slots_of, tries=1):
    """What each worker's `write` returned or raised, and their logs."""
    gather, found, logs = Gather(), [None] * COUNT, [[] for _ in range(COUNT)]

    def run(index):
        writer = ShardWriter(
            str(run_dir),
            slots(index),
            index,
            gather.of(index),
            logs[index].append,
            retry_s=0.0,
        )
        try:
            found[index] = writer.write(step, tries)
        except Exception as error:
            found[index] = error

    threads = [
        threading.Thread(target=run, args=(index,)) for index in range(COUNT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, logs


def test_a_checkpoint_of_all_rows_is_read_in_canonical_order(tmp_path):
    (written, *others), _ = write(tmp_path)
    assert all(other == written for other in others)
    arrays = {"dense/x": np.ones(2, np.float32), **written}
    path, size = store.save(str(tmp_path), 5, {}, arrays.items())
    assert size > WHOLE.nbytes + STATE.nbytes
    # One directory, of the checkpoint.
    assert os.listdir(tmp_path / runs.CHECKPOINTS) == [os.path.basename(path)]
    found = runs.open_checkpoint(path)
    assert set(found) == set(arrays)
    for table, (start, stop) in RUNS.items():
        array = found[f"tables/{table}"]
        assert array.shape == (stop - start, 4)
        np.testing.assert_array_equal(array, WHOLE[start:stop])
        state = found[f"optimizer/{table}"]
        np.testing.assert_array_equal(state, STATE[start:stop])


@pytest.mark.parametrize("bounds", [(0, 9, 9, ROWS), (0, 0, ROWS, ROWS)])
def test_runs_of_rows_are_one_array_and_in_one_file_if_one_worker_has_all(
    tmp_path, bounds
):
    def slots(index):
        layout = Blocks(bounds, index)
        variable = SimpleNamespace(
            value=tf.Variable(WHOLE[slice(*layout.run)]),
            shape=(layout.local_rows, 4),
            dtype="float32",
            shards=layout,
        )
        return [
            NamedArray("optimizer/dense/kernel_momentum", variable, (0, ROWS))
        ]

    (written, *others), _ = write(tmp_path, slots=slots)
    assert all(other == written for other in others)
    path, _ = store.save(str(tmp_path), 5, {}, written.items())
    found = runs.open_checkpoint(path)
    (name,) = found
    np.testing.assert_array_equal(found[name], WHOLE)
    assert found.entries[name]["shape"] == [ROWS, 4]
    assert ("shards" in found.entries[name]) == (bounds[1] == 9)
    # Each worker reads its own rows, and zeros for others.
    for index in range(COUNT):
        (slot,) = slots(index)
        slot.variable.value.assign(tf.zeros_like(slot.variable.value))
        assign_slots([slot], found)
        expected = np.zeros_like(WHOLE)
        own = slice(*slot.variable.shards.run)
        expected[own] = WHOLE[own]
        np.testing.assert_array_equal(read_arrays([slot])[name], expected)


def test_a_damaged_part_is_found(tmp_path):
    (written, *_), _ = write(tmp_path)
    path, _ = store.save(str(tmp_path), 5, {}, written.items())
    part = sorted(p for p in os.listdir(path) if p.endswith(".npy"))[1]
    with open(os.path.join(path, part), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(RunError, match=part):
        runs.open_checkpoint(path)


def test_all_workers_know_that_one_could_not_write(tmp_path):
    folder = tmp_path / runs.CHECKPOINTS
    folder.write_text("not a directory")
    found, logs = write(tmp_path, tries=2)
    assert found == [None] * COUNT
    for lines in logs:
        assert len(lines) == 2
        assert "the rows of worker 0 at step 5 could not be written" in lines[0]
    folder.unlink()
    found, _ = write(tmp_path)
    assert None not in found


def test_a_worker_whose_rows_are_not_finite_ends_all(tmp_path):
    def slots(index):
        whole = WHOLE.copy()
        if index == 1:
            whole[Shards(ROWS, COUNT, 1).owned(0, ROWS)[2], 1] = np.nan
        return slots_of(index, whole)

    found, _ = write(tmp_path, slots=slots)
    for error in found:
        assert isinstance(error, TrainingError)
        assert "no longer finite" in str(error)
    assert os.listdir(tmp_path / runs.CHECKPOINTS) == []


def test_what_earlier_checkpoints_left_is_removed(tmp_path):
    write(tmp_path, step=3)  # replaced before it was written
    (written, *_), _ = write(tmp_path, step=5)
    write(tmp_path, step=7)  # the next one
    path, _ = store.save(str(tmp_path), 5, {}, written.items())
    left = sorted(os.listdir(tmp_path / runs.CHECKPOINTS))
    assert left == [".unfinished-0000000007-shards", os.path.basename(path)]
    store.remove_unfinished(str(tmp_path))
    left = os.listdir(tmp_path / runs.CHECKPOINTS)
    assert left == [os.path.basename(path)]
