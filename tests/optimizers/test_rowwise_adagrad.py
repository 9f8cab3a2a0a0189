"""RowwiseAdagrad against a float64 oracle that goes row by row."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.optimizers import two_replicas as replicas
from tests.oracles.optimizers import rowwise_adagrad
from wukong_tf.optimizers import RowwiseAdagrad

ROWS, WIDTH, STEPS = 12, 3, 15
UNTOUCHED = [3, 7, 11]

ARGUMENTS = [
    {},
    {"initial_accumulator_value": 0.3},
    {"epsilon": 0.1},
    {"l2": 0.2},
    {"initial_accumulator_value": 0.1, "epsilon": 1e-3, "l2": 0.5},
]


def make_table(seed=0, shape=(ROWS, WIDTH)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_batches(seed=1, steps=STEPS, largest=9):
    """(ids [N], gradients [N, d]) with repeats, some of them empty."""
    random = np.random.default_rng(seed)
    ids = np.setdiff1d(np.arange(ROWS), UNTOUCHED)
    for step in range(steps):
        size = 0 if step % 5 == 3 else random.integers(1, largest)
        yield (
            random.choice(ids, size).astype(np.int32),
            random.normal(size=(size, WIDTH)).astype(np.float32),
        )


def slices(ids, gradients, rows=ROWS):
    values = tf.convert_to_tensor(gradients)
    return tf.IndexedSlices(values, tf.convert_to_tensor(ids), (rows, WIDTH))


def dense(ids, gradients):
    total = np.zeros((ROWS, WIDTH), np.float32)
    np.add.at(total, ids, gradients)
    return tf.constant(total)


def run(arguments, gradient=slices, compiled=False, batches=None):
    """Table and state after all batches."""
    table = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(0.1, **arguments)
    optimizer.build([table])

    def step(ids, gradients):
        optimizer.apply([gradient(ids, gradients)], [table])

    if compiled:
        step = tf.function(
            step,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, WIDTH], tf.float32),
            ],
        )
    for ids, gradients in batches or make_batches():
        step(ids, gradients)
    return np.asarray(table), np.asarray(optimizer.accumulator(table))


def expected(arguments, batches=None):
    """The oracle's table and state after all batches."""
    arguments = dict(arguments)
    table = make_table().astype(np.float64)
    start = arguments.pop("initial_accumulator_value", 0.0)
    state = np.full(ROWS, start)
    for ids, gradients in batches or make_batches():
        gradients = gradients.astype(np.float64)
        rowwise_adagrad(
            table, state, ids, gradients, learning_rate=0.1, **arguments
        )
    return table, state


def assert_close(result, oracle, rtol=1e-5):
    for mine, theirs in zip(result, oracle, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


def test_batches_have_repeats_and_empty_ones():
    sizes = [(len(ids), len(set(ids.tolist()))) for ids, _ in make_batches()]
    assert any(rows > unique for rows, unique in sizes)
    assert (0, 0) in sizes


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_many_steps_equal_the_oracle(arguments, compiled):
    assert_close(run(arguments, compiled=compiled), expected(arguments))


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_dense_gradients_equal_sparse_ones(arguments):
    assert_close(run(arguments, dense), run(arguments))


@pytest.mark.parametrize("scope", ["touched", "all"])
def test_a_row_with_a_zero_in_its_gradient_is_touched(scope):
    """Only rows whose whole gradient is zero are not in the batch."""
    ids = np.arange(5, dtype=np.int32)
    gradients = np.float32(
        [[0, 0, 1], [0, -1, 0], [0.5, 0, 0.5], [1e-30, 0, 0], [0, 0, 0]]
    )
    table = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(0.1, l2=0.5, l2_scope=scope)
    optimizer.build([table])
    optimizer.apply([dense(ids, gradients)], [table])
    want = make_table().astype(np.float64)
    state = np.zeros(ROWS)
    touched = slice(0, 4) if scope == "touched" else slice(None)
    whole = np.zeros((ROWS, WIDTH))
    whole[:5] = gradients
    rowwise_adagrad(
        want,
        state,
        np.arange(ROWS)[touched],
        whole[touched],
        learning_rate=0.1,
        l2=0.5,
    )
    np.testing.assert_allclose(table, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(optimizer.accumulator(table), state, rtol=1e-5)


@pytest.mark.parametrize("gradient", [slices, dense])
def test_rows_that_no_batch_holds_keep_their_bits(gradient):
    start = 0.25
    table, state = run(
        {"l2": 0.5, "initial_accumulator_value": start}, gradient
    )
    np.testing.assert_array_equal(table[UNTOUCHED], make_table()[UNTOUCHED])
    np.testing.assert_array_equal(state[UNTOUCHED], np.float32(start))
    moved = np.setdiff1d(np.arange(ROWS), UNTOUCHED)
    assert (table[moved] != make_table()[moved]).all()


def test_an_empty_batch_changes_nothing():
    empty = (np.zeros(0, np.int32), np.zeros((0, WIDTH), np.float32))
    table, state = run({"l2": 1.0}, batches=[empty])
    np.testing.assert_array_equal(table, make_table())
    np.testing.assert_array_equal(state, np.zeros(ROWS))


def test_two_lookups_of_one_table_are_one_gradient():
    random = np.random.default_rng(4)
    table = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(0.1)
    reference, state = make_table().astype(np.float64), np.zeros(ROWS)
    for _ in range(4):
        first, second = random.integers(0, 5, (2, 6)).astype(np.int32)
        factor = random.normal(size=(6, WIDTH)).astype(np.float32)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(table.value, first) * factor)
            loss += tf.reduce_sum(tf.gather(table.value, second) ** 2)
        gradient = tape.gradient(loss, table.value)
        assert isinstance(gradient, tf.IndexedSlices)
        assert set(first) & set(second)
        parts = np.concatenate([factor, 2 * reference[second]])
        ids = np.concatenate([first, second])
        rowwise_adagrad(reference, state, ids, parts, learning_rate=0.1)
        optimizer.apply([gradient], [table])
    assert_close(
        (np.asarray(table), np.asarray(optimizer.accumulator(table))),
        (reference, state),
    )


def test_l2_counts_a_repeated_row_once():
    ids = np.array([2, 2, 2], np.int32)
    gradients = np.ones((3, WIDTH), np.float32)
    table, state = run({"l2": 0.5}, batches=[(ids, gradients)])
    row = make_table()[2].astype(np.float64)
    total = 3.0 + 0.5 * row
    assert state[2] == pytest.approx(np.mean(total**2), rel=1e-6)
    np.testing.assert_allclose(
        table[2], row - 0.1 * total / np.sqrt(np.mean(total**2)), rtol=1e-5
    )


def test_first_step_has_the_length_of_the_rate():
    """With no history, a row moves by rate * sqrt(d), whatever its slope."""
    for size in (1e-3, 1.0, 1e3):
        gradients = np.array([[size, -2 * size, 3 * size]], np.float32)
        table, _ = run({}, batches=[(np.array([5], np.int32), gradients)])
        moved = np.linalg.norm(table[5] - make_table()[5])
        assert moved == pytest.approx(0.1 * np.sqrt(WIDTH), rel=1e-4)


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, 2, 2)])
def test_tables_of_other_ranks(shape):
    random = np.random.default_rng(0)
    ids = np.array([1, 4, 1], np.int32)
    gradients = random.normal(size=(3, *shape[1:])).astype(np.float32)
    total = np.zeros(shape, np.float32)
    np.add.at(total, ids, gradients)
    reference, state = make_table(0, shape).astype(np.float64), np.zeros(ROWS)
    rowwise_adagrad(reference, state, ids, gradients, learning_rate=0.1)
    sparse = tf.IndexedSlices(gradients, ids, shape)
    for gradient in (sparse, tf.constant(total)):
        table = keras.Variable(make_table(0, shape))
        optimizer = RowwiseAdagrad(0.1)
        optimizer.apply([gradient], [table])
        assert_close(
            (np.asarray(table), np.asarray(optimizer.accumulator(table))),
            (reference, state),
        )


@pytest.mark.parametrize("gradient", [slices, dense])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_tables_of_other_dtypes(gradient, dtype):
    table = keras.Variable(make_table(), dtype=dtype)
    optimizer = RowwiseAdagrad(0.1)
    ids = np.array([1, 2, 1], np.int32)
    gradients = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.float32)
    reference = np.asarray(table).astype(np.float64)
    state = np.zeros(ROWS)
    rowwise_adagrad(reference, state, ids, gradients, learning_rate=0.1)
    raw = gradient(ids, gradients)
    optimizer.apply([tf.cast(raw, dtype)], [table])
    assert table.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(table).astype(np.float64),
        reference,
        rtol=1e-6 if dtype == "float64" else 2.0**-6,
        atol=2.0**-9,
    )


def test_learning_rate_schedule():
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.4])
    table = keras.Variable(make_table())
    optimizer = RowwiseAdagrad(rates)
    reference, state = make_table().astype(np.float64), np.zeros(ROWS)
    batches = make_batches(steps=3)
    for rate, (ids, gradients) in zip((0.1, 0.1, 0.4), batches, strict=True):
        optimizer.apply([slices(ids, gradients)], [table])
        rowwise_adagrad(reference, state, ids, gradients, learning_rate=rate)
    np.testing.assert_allclose(np.asarray(table), reference, rtol=1e-5)


@pytest.mark.slow
def test_two_replicas_equal_the_oracle_on_the_global_batch(two_replicas):
    table = replicas.start()[0].astype(np.float64)
    state = np.full(
        replicas.ROWS, replicas.ADAGRAD["initial_accumulator_value"]
    )
    for ids, gradients, _ in replicas.batches():
        rowwise_adagrad(
            table,
            state,
            ids.ravel(),
            gradients.reshape(-1, replicas.WIDTH).astype(np.float64),
            learning_rate=replicas.ADAGRAD["learning_rate"],
            l2=replicas.ADAGRAD["l2"],
        )
    for where in ("one", "first", "second"):
        result = (
            two_replicas[f"{where}/table"],
            two_replicas[f"{where}/state"],
        )
        assert_close(result, (table, state))
    for name in ("table", "state"):
        np.testing.assert_array_equal(
            two_replicas[f"first/{name}"], two_replicas[f"second/{name}"]
        )
