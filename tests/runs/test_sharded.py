"""Arrays in the files of several workers are read as one."""

import numpy as np
import pytest

from wukong_tf.runs.sharded import ShardedArray
from wukong_tf.sharding.layout import Shards


def sharded(whole, count, first):
    """An array and its parts, from a row of the table on that it is in."""
    rows = len(whole)
    parts = [
        whole[
            Shards(first + rows, count, index).owned(first, first + rows)
            - first
        ]
        for index in range(count)
    ]
    return ShardedArray(parts, first, rows), parts


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("first", [0, 3, 10])
@pytest.mark.parametrize("shape", [(23, 4), (23,), (2, 4)])
def test_reads_as_the_array(count, first, shape):
    whole = np.random.default_rng(0).normal(size=shape)
    array, _ = sharded(whole, count, first)
    assert array.shape == whole.shape and array.dtype == whole.dtype
    assert len(array) == len(whole) and array.ndim == whole.ndim
    assert array.size == whole.size and array.nbytes == whole.nbytes
    rows = [0, len(whole) - 1, 1, 1, -1]
    for key in (
        slice(None),
        slice(1, 9),
        slice(9, 2),
        slice(None, None, 2),
        np.array(rows),
        np.array(rows).reshape(1, 5),
        np.arange(len(whole)) % 3 == 0,
        1,
    ):
        np.testing.assert_array_equal(array[key], whole[key])
    np.testing.assert_array_equal(np.asarray(array), whole)
    assert np.asarray(array, np.float32).dtype == np.float32
    if len(shape) > 1:
        columns = array[:, :2]
        assert isinstance(columns, ShardedArray)
        np.testing.assert_array_equal(columns, whole[:, :2])
        np.testing.assert_array_equal(array[1:, [0, 2]], whole[1:, [0, 2]])
    with pytest.raises(IndexError):
        array[np.array([len(whole)])]


def test_refuses_parts_that_do_not_fit():
    _, parts = sharded(np.zeros((23, 4)), 2, 0)
    for bad in (
        [parts[0][:-1], parts[1]],
        [parts[0], parts[1][:, :2]],
        [parts[0], parts[1].astype(np.float32)],
    ):
        with pytest.raises(ValueError, match="a worker's rows must be"):
            ShardedArray(bad, 0, 23)
