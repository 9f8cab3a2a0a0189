"""Canonical names, which know nothing of how tables are fused."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.worlds import small_models
from tests.worlds.small_models import CONFIG, SPEC, numpy
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import RunError
from wukong_tf.models import Wukong
from wukong_tf.optimizers import (
    ClippedAdam,
    OptimizerGroups,
    RowwiseAdagrad,
    TableAdam,
)
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.runs.arrays import (
    assign_slots,
    model_slots,
    optimizer_slots,
    read_arrays,
    table_name,
)


@pytest.fixture(scope="module")
def model():
    """A model with random weights, which no test changes."""
    return small_models.make()


def make_groups(model, rate=0.1, tables=RowwiseAdagrad):
    groups = OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (tables(rate), TABLES),
            "dense": (ClippedAdam(rate), None),
        },
    )
    groups.build()
    return groups


def arrays(slots):
    return read_arrays(slots)


def values(slots):
    """Whole variables, whatever their names."""
    return [np.asarray(slot.variable).copy() for slot in slots]


def test_names(model):
    names = [slot.name for slot in model_slots(model)]
    assert len(set(names)) == len(names)
    tables = {name for name in names if name.startswith("tables/")}
    assert tables == {f"tables/{n}" for n in ("user", "city", "item", "shop")}
    dense = [v.path for v in model.variables if not v.path.endswith("/table")]
    assert sorted(set(names) - tables) == sorted(
        path.replace("wukong/", "dense/", 1) for path in dense
    )


def test_no_feature_s_name_is_taken_for_keras_s(model):
    """Names are not numbered, which would depend on the features' order."""
    vector = tuple(
        dataclasses.replace(SPEC.vector[0], name=f"seed_generator_{number}")
        for number in range(2)
    )
    spec = dataclasses.replace(SPEC, vector=vector)
    other = Wukong(dataclasses.replace(CONFIG, features=spec))
    names = [slot.name for slot in model_slots(other)]
    for each in vector:
        assert any(f"/vector_{each.name}/" in name for name in names)
    assert not any(":" in name for name in names)


def test_a_table_is_its_own_rows(model):
    found = arrays(model_slots(model))
    fused = {layer.name: numpy(layer.table) for layer in model.tables}
    wide, narrow = fused["tables_6"], fused["tables_4"]
    np.testing.assert_array_equal(found["tables/user"], wide[:13])
    np.testing.assert_array_equal(found["tables/city"], wide[13:])
    np.testing.assert_array_equal(found["tables/item"], narrow[:11])
    np.testing.assert_array_equal(found["tables/shop"], narrow[11:])


def test_names_do_not_know_how_tables_are_fused(model):
    """The same arrays in another order of features, and so of rows."""
    turned = dataclasses.replace(
        SPEC, categorical=tuple(reversed(SPEC.categorical))
    )
    other = Wukong(dataclasses.replace(CONFIG, features=turned))
    plans = [[t.plan.offsets for t in each.tables] for each in (model, other)]
    assert plans[0] != plans[1]
    found = arrays(model_slots(model))
    assert {slot.name for slot in model_slots(other)} == found.keys()
    assign_slots(model_slots(other), found)
    theirs = arrays(model_slots(other))
    for name, value in found.items():
        np.testing.assert_array_equal(theirs[name], value, err_msg=name)
    inputs = small_models.inputs(9)
    mine, turned_rows = numpy(model.embed(inputs)), numpy(other.embed(inputs))
    order = [4, 3, 2, 1, 0, 5, 6, 7]
    np.testing.assert_allclose(mine[:, order], turned_rows, atol=1e-6)


def test_a_table_keeps_its_name_beside_others(model):
    """Fewer features of a width: other offsets, the same names."""
    spec = FeatureSpec(SPEC.categorical[2:])
    other = Wukong(dataclasses.replace(CONFIG, features=spec))
    found = arrays(model_slots(model))
    tables = [s for s in model_slots(other) if s.name.startswith("tables/")]
    assert {slot.name for slot in tables} == {
        f"tables/{name}" for name in ("city", "item", "shop")
    }
    assign_slots(tables, found)
    inputs = small_models.inputs(9)
    ids = inputs["city"]
    np.testing.assert_array_equal(
        numpy(other.embed(inputs))[:, 0], found["tables/city"][ids]
    )


@pytest.mark.parametrize("lookup", ["take", "tfrs"])
def test_model_round_trip(model, lookup):
    other = Wukong(CONFIG, lookup=lookup)
    found = arrays(model_slots(model))
    assign_slots(model_slots(other), found)
    inputs = small_models.inputs(9)
    np.testing.assert_allclose(
        numpy(other(inputs)["click"]),
        numpy(model(inputs)["click"]),
        rtol=1e-6,
        atol=1e-6,
    )


def step(model, groups, seed):
    random = np.random.default_rng(seed)
    groups.apply(
        [
            keras.ops.convert_to_tensor(
                random.normal(size=tuple(v.shape)).astype(np.float32)
            )
            for v in model.trainable_variables
        ]
    )


@pytest.mark.parametrize("tables", [RowwiseAdagrad, TableAdam])
def test_optimizer_round_trip_goes_on_bit_for_bit(tables):
    model, other = small_models.make(), small_models.make(seed=1)
    groups, others = (make_groups(m, tables=tables) for m in (model, other))
    step(model, groups, 0)
    slots = model_slots(model) + optimizer_slots(model, groups)
    their_slots = model_slots(other) + optimizer_slots(other, others)
    found = arrays(slots)
    assign_slots(their_slots, found)
    step(model, groups, 1)
    step(other, others, 1)
    for mine, theirs in zip(values(slots), values(their_slots), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    after = arrays(slots)
    for name, value in after.items():
        if "learning_rate" not in name:
            assert (value != found[name]).any(), name


def test_optimizer_names(model):
    groups = make_groups(model)
    slots = optimizer_slots(model, groups)
    names = [slot.name for slot in slots]
    assert len(set(names)) == len(names)
    shapes = {slot.name: slot.shape for slot in slots}
    rows = {"user": 13, "city": 5, "item": 11, "shop": 7}
    for table, count in rows.items():
        name = f"optimizer/tables/accumulator/{table}"
        assert shapes.pop(name) == (count,)
    assert not [name for name in shapes if "accumulator" in name]
    assert sum("momentum" in name for name in names) == len(
        groups.variables["dense"]
    )
    again = optimizer_slots(model, make_groups(model))
    assert [slot.name for slot in again] == names
    saved = {id(slot.variable) for slot in slots}
    for optimizer in groups.optimizers.values():
        assert {id(variable) for variable in optimizer.variables} <= saved


def test_moments_of_tables_have_their_names(model):
    groups = make_groups(model, tables=TableAdam)
    slots = optimizer_slots(model, groups)
    shapes = {slot.name: slot.shape for slot in slots}
    assert len(shapes) == len(slots)
    for array in model_slots(model):
        table = table_name(array.name)
        for kind in ("momentum", "velocity") if table else ():
            name = f"optimizer/tables/{kind}/{table}"
            assert shapes[name] == array.shape
            assert table_name(name) == table
    saved = {id(slot.variable) for slot in slots}
    for optimizer in groups.optimizers.values():
        assert {id(variable) for variable in optimizer.variables} <= saved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: None, ["no array"]),
        (lambda value: value[:-1], ["shape (7, 4)", "shape (6, 4)"]),
        (lambda value: value.T, ["shape (7, 4)", "shape (4, 7)"]),
        (lambda value: value.astype(int), ["hold float", "int64"]),
        (lambda value: value.astype(complex), ["hold float", "complex128"]),
        (lambda value: value.astype(str), ["hold float", "<U"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_any_is_assigned(
    model, change, words
):
    other = small_models.make(seed=1)
    slots = model_slots(other)
    before = values(slots)
    found = arrays(model_slots(model))
    # Not the first, so that an early assignment would show.
    name = "tables/shop"
    assert slots[0].name != name
    found[name] = change(found[name])
    if found[name] is None:
        del found[name]
    with pytest.raises(RunError) as error:
        assign_slots(slots, found)
    for word in (f"'{name}'", *words):
        assert word in str(error.value)
    for old, new in zip(before, values(slots), strict=True):
        np.testing.assert_array_equal(old, new)


def test_arrays_of_another_precision_are_taken():
    """A seed's state and a float have other widths on other backends."""
    config = dataclasses.replace(CONFIG, dropout=0.1)
    model = small_models.make(config)
    found = {
        name: value.astype(np.uint32 if value.dtype.kind in "iu" else "f8")
        for name, value in arrays(model_slots(model)).items()
    }
    assert {value.dtype.kind for value in found.values()} == {"u", "f"}
    other = small_models.make(config, seed=1)
    assign_slots(model_slots(other), found)
    for name, value in arrays(model_slots(other)).items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


def test_more_arrays_than_needed_are_let_be(model):
    """An export reads the model's arrays and not the optimizers'."""
    other = Wukong(CONFIG)
    found = arrays(model_slots(model)) | {"optimizer/x": np.zeros(3)}
    assign_slots(model_slots(other), found)
    assert arrays(model_slots(other)).keys() < found.keys()
