"""Runs of a table's rows: drawn, read and written without a whole copy."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph

from tests.worlds import small_models
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.steps import make_eval_step, make_train_step
from wukong_tf.config import TableSettings
from wukong_tf.embeddings import table_rows
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.models import build_model
from wukong_tf.optimizers import ClippedAdam, OptimizerGroups, RowwiseAdagrad
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.runs.arrays import StoredRows, model_slots, read_arrays

# What may take a table's resource: each reads or writes the rows it is given.
ROW_OPERATIONS = {
    "ResourceGather",
    "ResourceScatterSub",
    "ResourceScatterUpdate",
}
# And what only hands it on, to a function or out of a colocation.
HANDS_ON = {"PartitionedCall", "StatefulPartitionedCall", "Identity"}


@pytest.mark.parametrize("width", [1, 4, 5])
def test_a_drawn_row_is_a_function_of_its_number(width):
    draw = table_rows.uniform(7, "user", width, 0.25)
    rows = draw(0, 4000)
    assert rows.shape == (4000, width) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows[13:21], draw(13, 21))
    assert len(np.unique(rows)) > 0.99 * rows.size
    # The limits and the first two moments of a uniform draw.
    assert -0.25 <= rows.min() < -0.24 and 0.24 < rows.max() <= 0.25
    error = 0.25 / np.sqrt(3 * rows.size)
    assert abs(rows.mean()) < 5 * error
    assert np.std(rows) == pytest.approx(0.25 / np.sqrt(3), rel=0.1)
    other = table_rows.uniform(7, "item", width, 0.25)(0, 4000)
    again = table_rows.uniform(8, "user", width, 0.25)(0, 4000)
    for different in (other, again):
        assert abs(np.corrcoef(rows[:, 0], different[:, 0])[0, 1]) < 0.1


def test_rows_are_written_and_read_by_chunks(monkeypatch):
    monkeypatch.setattr(table_rows, "CHUNK_BYTES", 3 * 16)
    assert list(table_rows.chunks((2, 10), 16)) == [(2, 5), (5, 8), (8, 10)]
    assert list(table_rows.chunks((2, 4), 1000)) == [(2, 3), (3, 4)]
    values = np.arange(48, dtype=np.float32).reshape(12, 4)
    table = keras.Variable(values)
    new = -np.arange(32, dtype=np.float32).reshape(8, 4)
    asked = []

    def rows(start, stop):
        asked.append((start, stop))
        return new[start:stop]

    table_rows.write(table, (2, 10), rows)
    assert asked == [(0, 3), (3, 6), (6, 8)]
    values[2:10] = new
    np.testing.assert_array_equal(table.numpy(), values)
    np.testing.assert_array_equal(table_rows.read(table, 1, 7), values[1:7])


def test_stored_rows_come_by_chunks_and_whole(monkeypatch):
    monkeypatch.setattr(table_rows, "CHUNK_BYTES", 64)
    model = build_model(small_models.CONFIG)
    for slot in model_slots(model):
        stored = StoredRows(slot)
        chunks = list(stored.chunks())
        assert slot.rows is None or len(chunks) > 1
        np.testing.assert_array_equal(np.concatenate(chunks), stored)
        assert np.asarray(stored).shape == stored.shape == slot.shape


def test_tables_start_the_same_however_they_are_fused():
    """Under one seed, a table's rows do not depend on its neighbours."""
    found = []
    for spec in (small_models.SPEC, small_models.SPEC.one_row_each()):
        keras.utils.set_random_seed(4)
        layer = FeatureEmbedding(spec, 6, (5,))
        layer.build()
        found.append(
            {
                table.name: layer_table.table.numpy()[
                    table.offset : table.offset + table.rows
                ]
                for layer_table in layer.tables
                for table in layer_table.plan.tables
            }
        )
    same = [
        name
        for name, rows in found[0].items()
        if rows.shape == found[1][name].shape
    ]
    assert same
    for name in same:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_a_table_may_have_a_scale_of_its_own():
    names = {f.table_name for f in small_models.SPEC.categorical}
    assert {"user", "city", "item"} <= names
    spec = dataclasses.replace(
        small_models.SPEC,
        tables=(TableSettings("user", 2.0), TableSettings("item", 0.0)),
    )
    config = dataclasses.replace(small_models.CONFIG, features=spec)
    arrays = read_arrays(model_slots(build_model(config)))
    largest = {name: np.abs(arrays[f"tables/{name}"]).max() for name in names}
    assert 0.5 < largest["user"] <= 2.0 and largest["item"] == 0.0
    assert 0.0 < largest["city"] <= config.table_initial_scale


def uses_of(graph, tensors) -> set[str]:
    """Kinds of operations that take any of `tensors`, also in functions."""
    found: set[str] = set()
    for operation in graph.get_operations():
        places = [
            index
            for index, tensor in enumerate(operation.inputs)
            if any(tensor is each for each in tensors)
        ]
        if not places:
            continue
        found.add(operation.type)
        if operation.type == "Identity":
            found |= uses_of(graph, operation.outputs)
        if "Call" in operation.type:
            name = operation.get_attr("f").name
            inside = function_def_to_graph.function_def_to_graph(
                graph._get_function(name).cached_definition
            )
            found |= uses_of(inside, [inside.inputs[place] for place in places])
    return found


@pytest.mark.parametrize("lookup", ["take", "tfrs"])
def test_no_step_takes_a_whole_table(lookup):
    """Every operation on a table is by row.

    In training, with an average of the weights, and in evaluation.
    """
    model = build_model(small_models.CONFIG, lookup=lookup)
    groups = OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (RowwiseAdagrad(0.1, l2=0.1), TABLES),
            "dense": (ClippedAdam(1e-3), None),
        },
        average=(("dense",), 0.9),
    )
    groups.build()
    batch = {
        name: tf.constant(value)
        for name, value in small_models.inputs(4).items()
    }
    for task in small_models.SPEC.tasks:
        batch[task.label] = tf.constant([0.0, 1.0, 0.0, 1.0])
    batch[GLOBAL_ROWS] = tf.constant(4.0)
    optimizer = groups.optimizers["tables"]
    rates = {task.name: 1.0 for task in small_models.SPEC.tasks}
    seen = set()
    for step in (make_train_step(model, groups), make_eval_step(model, rates)):
        graph = tf.function(step).get_concrete_function(batch).graph
        for layer in model.tables:
            for variable in (layer.table, optimizer.accumulator(layer.table)):
                handle = variable.value.handle
                inside = [
                    inner for outer, inner in graph.captures if outer is handle
                ]
                seen |= uses_of(graph, inside)
    assert "ResourceGather" in seen and "ResourceScatterSub" in seen
    assert seen <= ROW_OPERATIONS | HANDS_ON
