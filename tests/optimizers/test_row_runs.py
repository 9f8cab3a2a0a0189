"""Rows of one variable that learn at rates and decays of their own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.errors import message
from tests.oracles.optimizers import rowwise_adagrad
from wukong_tf.optimizers import RowwiseAdagrad

ROWS, WIDTH = 9, 3
RUNS = [[4, 1.0, 0.0], [2, 0.25, 0.3], [3, 3.0, 0.1]]


def make_table(seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(ROWS, WIDTH)).astype(np.float32)


def batches():
    random = np.random.default_rng(1)
    for _ in range(6):
        ids = random.integers(0, ROWS, 5).astype(np.int32)
        yield ids, random.normal(size=(5, WIDTH)).astype(np.float32)


def trained(optimizer, table, sparse):
    optimizer.build([table])
    for ids, gradients in batches():
        gradient = tf.IndexedSlices(
            tf.constant(gradients), tf.constant(ids), tf.constant([ROWS, WIDTH])
        )
        if not sparse:
            gradient = tf.convert_to_tensor(gradient)
        optimizer.apply([gradient], [table])
    return table.numpy(), np.asarray(optimizer.accumulator(table))


@pytest.mark.parametrize("sparse", [True, False])
def test_each_run_of_rows_learns_as_it_is_told(sparse):
    variable = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(0.1, row_runs={variable.path: RUNS})
    found = trained(optimizer, variable, sparse)
    table = make_table().astype(np.float64)
    state = np.zeros(ROWS)
    for ids, gradients in batches():
        start = 0
        for rows, factor, l2 in RUNS:
            inside = (ids >= start) & (ids < start + rows)
            rowwise_adagrad(
                table,
                state,
                ids[inside],
                gradients[inside].astype(np.float64),
                learning_rate=0.1 * factor,
                l2=l2,
            )
            start += rows
    np.testing.assert_allclose(found[0], table, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], state, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("runs", [False, True])
def test_decay_of_all_rows_moves_those_outside_the_batch(sparse, runs):
    variable = keras.Variable(make_table())
    row_runs = {variable.path: RUNS} if runs else None
    optimizer = RowwiseAdagrad(0.1, l2=0.2, l2_scope="all", row_runs=row_runs)
    found = trained(optimizer, variable, sparse)
    table = make_table().astype(np.float64)
    state = np.zeros(ROWS)
    each = RUNS if runs else [[ROWS, 1.0, 0.2]]
    rates = np.repeat([run[1] for run in each], [run[0] for run in each])
    decays = np.repeat([run[2] for run in each], [run[0] for run in each])
    for ids, gradients in batches():
        gradient = decays[:, None] * table
        np.add.at(gradient, ids, gradients)
        state += np.mean(gradient**2, axis=1)
        move = 0.1 * rates / (np.sqrt(state) + 1e-8)
        table -= move[:, None] * gradient
    np.testing.assert_allclose(found[0], table, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1], state, rtol=1e-4, atol=1e-7)


def test_configuration_keeps_runs_and_scope():
    optimizer = RowwiseAdagrad(
        0.1, l2=0.2, l2_scope="all", row_runs={"table": RUNS}
    )
    again = RowwiseAdagrad.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.row_runs == {"table": RUNS} and again.l2_scope == "all"


@pytest.mark.parametrize(
    "runs, words",
    [
        ([[4, 1.0, 0.0]], ["cover", "9 rows", "4"]),
        ([[9, 0.0, 0.0]], ["factor above 0", "0.0"]),
        ([[9, 1.0, -1.0]], ["l2 of at least 0", "-1.0"]),
        ([[9, 1.0, 0.0], [0, 1.0, 0.0]], ["at least one row"]),
    ],
)
def test_bad_runs_are_refused(runs, words):
    table = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(row_runs={table.path: runs})
    text = message(ValueError, lambda: optimizer.build([table]))
    for word in (table.path, *words):
        assert word in text


def test_an_unknown_scope_is_refused():
    text = message(ValueError, lambda: RowwiseAdagrad(l2_scope="some"))
    assert "l2_scope" in text and "some" in text and "touched" in text
