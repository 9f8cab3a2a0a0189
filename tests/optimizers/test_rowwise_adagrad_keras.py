"""RowwiseAdagrad as a Keras optimizer: its cost, config and files."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.docstrings import documented_defaults
from wukong_tf.optimizers import RowwiseAdagrad

ROWS, WIDTH = 12, 3


def test_the_update_costs_only_the_rows_of_the_batch():
    rows = 9973  # stands out among the shapes of a graph
    table = keras.Variable(np.zeros((rows, WIDTH), np.float32))
    optimizer = RowwiseAdagrad(0.1, l2=0.1)
    optimizer.build([table])

    @tf.function
    def step(ids, gradients):
        optimizer.apply(
            [tf.IndexedSlices(gradients, ids, (rows, WIDTH))], [table]
        )

    graph = step.get_concrete_function(
        tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, WIDTH])
    ).graph
    state = optimizer.accumulator(table)
    big = {
        id(inner)
        for outer, inner in graph.captures
        if outer is table.value.handle or outer is state.value.handle
    }
    assert len(big) == 2
    used = [
        operation.type
        for operation in graph.get_operations()
        for tensor in operation.inputs
        if id(tensor) in big
    ]
    assert sorted(used) == [
        "ResourceGather",  # state
        "ResourceGather",  # the rows, for l2
        "ResourceScatterSub",
        "ResourceScatterUpdate",
    ]
    for operation in graph.get_operations():
        for tensor in operation.outputs:
            sizes = tensor.shape.dims or []
            assert rows not in [size.value for size in sizes], operation.name


def test_config_round_trip():
    arguments = {"initial_accumulator_value": 0.5, "epsilon": 0.25, "l2": 0.125}
    one = RowwiseAdagrad(0.75, **arguments, name="mine")
    other = RowwiseAdagrad.from_config(one.get_config())
    assert other.get_config() == one.get_config()
    assert float(other.learning_rate) == 0.75
    assert other.name == "mine"
    for name, value in arguments.items():
        assert getattr(other, name) == value


def test_documented_defaults():
    config = RowwiseAdagrad().get_config()
    for name, value in documented_defaults(RowwiseAdagrad).items():
        assert config[name] == pytest.approx(value)
    assert config["initial_accumulator_value"] == 0.0
    assert config["epsilon"] == 1e-8


def test_compiled_model_is_saved_and_goes_on(tmp_path):
    def fit(model):
        ids = np.array([[1, 2], [2, 5], [2, 2]], np.int32)
        model.fit(ids, np.array([[1.0], [0.0], [1.0]]), verbose=0)

    model = keras.Sequential(
        [
            keras.layers.Input((2,), dtype="int32"),
            keras.layers.Embedding(ROWS, WIDTH),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(RowwiseAdagrad(0.3, 0.1, l2=0.01), "mse")
    fit(model)
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(other.optimizer, RowwiseAdagrad)
    state = other.optimizer.accumulator(other.trainable_variables[0])
    touched = np.flatnonzero(np.asarray(state) != np.float32(0.1))
    assert touched.tolist() == [1, 2, 5]
    for each in (model, other):
        fit(each)
    pairs = itertools.zip_longest(
        model.weights + model.optimizer.variables,
        other.weights + other.optimizer.variables,
    )
    for mine, theirs in pairs:
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


@pytest.mark.parametrize("name", ["initial_accumulator_value", "epsilon", "l2"])
def test_negative_arguments_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}`.*at least 0.*-0.5"):
        RowwiseAdagrad(**{name: -0.5})


def test_rows_without_a_gradient_are_never_divided_by_0():
    with pytest.raises(ValueError, match="`epsilon` or `initial.*above 0"):
        RowwiseAdagrad(epsilon=0.0)
    table = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
    gradient = keras.ops.convert_to_tensor([[1.0, 1.0], [0.0, 0.0]])
    optimizer = RowwiseAdagrad(0.1, 1.0, epsilon=0.0)
    optimizer.apply([gradient], [table])
    found = keras.ops.convert_to_numpy(table)
    moved = 0.1 / np.sqrt(2.0)
    np.testing.assert_allclose(
        found, [[1 - moved, 2 - moved], [3.0, 4.0]], rtol=1e-6
    )


def test_a_scalar_is_refused():
    scalar = keras.Variable(1.0, name="lonely")
    with pytest.raises(ValueError, match="must have rows; received lonely"):
        RowwiseAdagrad().build([scalar])
