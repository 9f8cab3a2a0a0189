"""TableAdam against a float64 oracle of Adam over whole tables."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.docstrings import documented_defaults
from tests.errors import message
from tests.optimizers import two_replicas as replicas
from tests.oracles.optimizers import Adam
from wukong_tf.optimizers import TableAdam

ROWS, WIDTH = 9, 3
RUNS = [[4, 1.0, 0.0], [2, 0.25, 0.3], [3, 3.0, 0.1]]
RATE = 0.1


def make_table():
    random = np.random.default_rng(0)
    return random.normal(size=(ROWS, WIDTH)).astype(np.float32)


def batches():
    """(ids [N], gradients [N, d]) with repeats; one of them is empty."""
    random = np.random.default_rng(1)
    for size in (5, 9, 0, 4, 7, 5):
        ids = random.integers(0, ROWS - 2, size).astype(np.int32)
        yield ids, random.normal(size=(size, WIDTH)).astype(np.float32)


def gradient_of(kind, ids, gradients):
    ids, gradients = map(tf.convert_to_tensor, (ids, gradients))
    if kind == "summed":  # as the trainer's sum over replicas gives it
        return tf.IndexedSlices(gradients, ids)
    gradient = tf.IndexedSlices(gradients, ids, tf.constant([ROWS, WIDTH]))
    return gradient if kind == "sparse" else tf.convert_to_tensor(gradient)


def trained(arguments, kind, compiled=False):
    table = keras.Variable(make_table())
    arguments = dict(arguments)
    if arguments.pop("runs", False):
        arguments["row_runs"] = {table.path: RUNS}
    optimizer = TableAdam(RATE, **arguments)
    optimizer.build([table])

    def step(ids, gradients):
        optimizer.apply([gradient_of(kind, ids, gradients)], [table])

    if compiled:
        step = tf.function(
            step,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, WIDTH], tf.float32),
            ],
            autograph=False,
        )
    for ids, gradients in batches():
        step(ids, gradients)
    slots = optimizer.row_slots(table)
    return table.numpy(), *(np.asarray(slot) for slot in slots.values())


def expected(arguments):
    """The oracle's table, first and second moments."""
    table = make_table().astype(np.float64)
    runs = RUNS if arguments.get("runs") else [[ROWS, 1.0, None]]
    rates, decays = (
        np.repeat([run[place] for run in runs], [run[0] for run in runs])
        for place in (1, 2)
    )
    if not arguments.get("runs"):
        decays = np.full(ROWS, arguments.get("l2", 0.0))
    oracle = Adam(RATE * rates[:, None])
    for ids, gradients in batches():
        decay = decays[:, None] * table
        if arguments.get("l2_scope") == "touched":
            decay[np.setdiff1d(np.arange(ROWS), ids)] = 0
        gradient = decay.copy()
        np.add.at(gradient, ids, gradients)
        oracle.step([table], [gradient])
    return table, *oracle.moments[0]


@pytest.mark.parametrize("kind", ["sparse", "summed", "dense"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"l2": 0.2},
        {"l2": 0.2, "l2_scope": "touched"},
        {"runs": True},
        {"runs": True, "l2_scope": "touched"},
    ],
    ids=str,
)
def test_steps_are_those_of_the_oracle(arguments, kind):
    for mine, theirs in zip(
        trained(arguments, kind), expected(arguments), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=5e-4, atol=2e-5)


def test_a_compiled_step_is_the_same():
    arguments = {"l2": 0.2}
    for mine, theirs in zip(
        trained(arguments, "sparse", compiled=True),
        trained(arguments, "sparse"),
        strict=True,
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)


def test_two_replicas_take_the_steps_of_one(two_replicas):
    for name in ("adam_table", "adam_velocity"):
        one = two_replicas[f"one/{name}"]
        for replica in ("first", "second"):
            np.testing.assert_allclose(
                two_replicas[f"{replica}/{name}"], one, rtol=1e-5, atol=1e-6
            )
    moved = two_replicas["one/adam_table"] != replicas.start()[0]
    assert moved.all()  # rows outside all batches decay too


def test_configuration_and_defaults():
    optimizer = TableAdam(
        0.2, l2=0.3, l2_scope="touched", row_runs={"table": RUNS}, beta_2=0.9
    )
    again = TableAdam.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.beta_2 == 0.9 and again.row_runs == {"table": RUNS}
    config = TableAdam().get_config()
    for name, value in documented_defaults(TableAdam).items():
        assert config[name] == (pytest.approx(value) if value else value)


def test_a_compiled_model_is_saved_and_goes_on(tmp_path):
    def fit(model):
        ids = np.array([[1, 2], [2, 5], [2, 2]], np.int32)
        model.fit(ids, np.array([[1.0], [0.0], [1.0]]), verbose=0)

    model = keras.Sequential(
        [
            keras.layers.Input((2,), dtype="int32"),
            keras.layers.Embedding(ROWS, WIDTH),
            keras.layers.Flatten(),
        ]
    )
    model.compile(TableAdam(0.3, l2=0.01), "mse")
    fit(model)
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, other):
        fit(each)
    for mine, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_bad_arguments_are_refused():
    text = message(ValueError, lambda: TableAdam(l2=-0.5))
    assert "TableAdam: `l2` must be at least 0" in text and "-0.5" in text
    text = message(ValueError, lambda: TableAdam(l2_scope="some"))
    assert "TableAdam: `l2_scope`" in text and "'some'" in text
    scalar = keras.Variable(1.0, name="lonely")
    text = message(ValueError, lambda: TableAdam().build([scalar]))
    assert "TableAdam: a variable must have rows; received lonely" in text
    table = keras.Variable(make_table())
    optimizer = TableAdam(row_runs={table.path: [[4, 1.0, 0.0]]})
    text = message(ValueError, lambda: optimizer.build([table]))
    assert "TableAdam: `row_runs` must cover the 9 rows" in text
