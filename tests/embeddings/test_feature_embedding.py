"""X_0 against a NumPy lookup of each feature in its own table."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.errors import assert_refused
from tests.oracles import models as oracles
from tests.worlds import small_models
from tests.worlds.small_models import SPEC, TABLES
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature
from wukong_tf.embeddings.feature_embedding import FeatureEmbedding
from wukong_tf.embeddings.lookup import make_lookup

LOOKUPS = pytest.mark.parametrize("lookup", ["take", "tfrs"])


def make(lookup="take", spec=SPEC, width=6, **kwargs):
    """A layer with random weights, and these by canonical name.

    The rows of a fused table are written here by hand, one table after the
    other, so the plan's offsets have a second opinion.
    """
    layer = FeatureEmbedding(spec, width, (5,), lookup=lookup, **kwargs)
    layer.build()
    random = np.random.default_rng(0)
    rows = {f.table_name: f.num_ids for f in spec.categorical}
    weights = {}
    for embedding in layer.tables:
        names = TABLES[embedding.name]
        parts = [
            random.normal(size=(rows[name], embedding.plan.width))
            for name in names
        ]
        for name, part in zip(names, parts, strict=True):
            weights[f"tables/{name}"] = part
        embedding.table.assign(np.concatenate(parts))
    tables = {id(embedding.table) for embedding in layer.tables}
    for variable in layer.variables:
        if id(variable) not in tables:
            value = random.normal(size=tuple(variable.shape))
            variable.assign(value)
            weights[f"dense/{variable.path}"] = value
    return layer, weights


@LOOKUPS
def test_every_feature_equals_numpy(lookup):
    layer, weights = make(lookup)
    inputs = small_models.inputs(20)
    expected = oracles.embed(SPEC, inputs, weights)
    assert layer.num_embeddings == 5 + 1 + 2
    assert expected.shape == (20, 8, 6)
    assert layer.compute_output_shape(None) == (None, 8, 6)
    for tensors in (inputs, {k: tf.constant(v) for k, v in inputs.items()}):
        np.testing.assert_allclose(
            small_models.numpy(layer(tensors)), expected, rtol=1e-5, atol=1e-5
        )
    columns = {  # [B, 1], as Keras inputs often come
        name: value[:, None] if value.ndim == 1 else value
        for name, value in inputs.items()
    }
    np.testing.assert_array_equal(
        small_models.numpy(layer(columns)), small_models.numpy(layer(inputs))
    )


@LOOKUPS
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_first_and_last_ids_of_every_table(lookup, dtype):
    layer, weights = make(lookup)
    inputs = small_models.inputs(2)
    for feature in SPEC.categorical:
        inputs[feature.name] = np.array([0, feature.num_ids - 1], dtype)
    np.testing.assert_allclose(
        small_models.numpy(layer(inputs)),
        oracles.embed(SPEC, inputs, weights),
        rtol=1e-5,
        atol=1e-5,
    )


@LOOKUPS
def test_one_fused_table_alone(lookup):
    """The common case of one width: no columns are taken apart."""
    spec = FeatureSpec(
        (
            CategoricalFeature("user", 13),
            CategoricalFeature("city", 5),
            CategoricalFeature("last_user", 13, table="user"),
        )
    )
    layer, weights = make(lookup, spec)
    inputs = small_models.inputs(9, spec=spec)
    np.testing.assert_allclose(
        small_models.numpy(layer(inputs)),
        oracles.embed(spec, inputs, weights),
        rtol=1e-6,
    )


def test_features_of_one_table_share_its_rows():
    layer, _ = make()
    inputs = small_models.inputs(6)
    inputs["last_item"] = inputs["item"]
    kernels = [layer.projections[n].kernel for n in ("item", "last_item")]
    kernels[1].assign(kernels[0])
    rows = small_models.numpy(layer(inputs))
    np.testing.assert_array_equal(rows[:, 1], rows[:, 3])
    assert sum(embedding.plan.rows for embedding in layer.tables) == sum(
        (13, 5, 11, 7)
    )


def test_rows_come_in_the_order_of_the_spec():
    """Each input moves its own row alone; numbers share one."""
    layer, _ = make()
    inputs = small_models.inputs(4)
    before = small_models.numpy(layer(inputs))
    rows = {"price": 5, "age": 5, "content": 6, "image": 7}
    rows |= {f.name: index for index, f in enumerate(SPEC.categorical)}
    for name, row in rows.items():
        value = inputs[name]
        kind = value.dtype.kind
        changed = {
            **inputs,
            name: (value + 1) % 5 if kind == "i" else value + 1,
        }
        after = small_models.numpy(layer(changed))
        moved = (after != before).any(axis=(0, 2))
        assert np.flatnonzero(moved).tolist() == [row], name


def test_other_keys_are_not_looked_at():
    layer, _ = make()
    inputs = small_models.inputs(4)
    np.testing.assert_array_equal(
        small_models.numpy(layer({**inputs, "label": np.ones(4)})),
        small_models.numpy(layer(inputs)),
    )


def test_numbers_alone_are_one_row():
    spec = FeatureSpec(numeric=(NumericFeature("a"), NumericFeature("b")))
    layer, weights = make(spec=spec)
    inputs = small_models.inputs(3, spec=spec)
    np.testing.assert_allclose(
        small_models.numpy(layer(inputs)),
        oracles.embed(spec, inputs, weights),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    "kinds",
    [
        ("categorical", "numeric"),
        ("categorical", "vector"),
        ("numeric", "vector"),
        ("vector",),
        ("categorical",),
    ],
)
def test_any_kinds_of_features_are_joined(kinds):
    left_out = {"categorical", "numeric", "vector"} - set(kinds)
    spec = dataclasses.replace(SPEC, **dict.fromkeys(left_out, ()))
    layer, weights = make(spec=spec)
    inputs = small_models.inputs(3, spec=spec)
    np.testing.assert_allclose(
        small_models.numpy(layer(inputs)),
        oracles.embed(spec, inputs, weights),
        rtol=1e-5,
        atol=1e-5,
    )


def test_one_width_for_all_has_no_projection():
    layer = FeatureEmbedding(SPEC.one_row_each(), 1)
    layer.build()
    assert [embedding.plan.width for embedding in layer.tables] == [1]
    assert layer.projections == {}


@pytest.mark.parametrize("scale", [0.0, 0.02, 0.5])
def test_tables_start_uniform_within_the_scale(scale):
    layer = FeatureEmbedding(
        FeatureSpec((CategoricalFeature("a", 2000),)), 8, initial_scale=scale
    )
    layer.build()
    table = small_models.numpy(layer.tables[0].table)
    assert np.abs(table).max() <= scale
    assert table.std() == pytest.approx(scale / np.sqrt(3), rel=0.02)
    assert table.mean() == pytest.approx(0, abs=0.02 * scale)


def test_tables_of_two_widths_do_not_start_alike():
    layer = FeatureEmbedding(SPEC, 6)
    layer.build()
    first, second = (e.table for e in layer.tables)
    one, other = small_models.numpy(first), small_models.numpy(second)
    assert not np.isin(one, other).any()


def test_dropout_is_on_in_training_alone():
    layer, _ = make(dropout=0.5)
    inputs = small_models.inputs(50)
    kept = small_models.numpy(layer(inputs, training=False))
    dropped = small_models.numpy(layer(inputs, training=True))
    zero = dropped == 0
    assert 0.4 < zero.mean() < 0.6
    np.testing.assert_allclose(dropped[~zero], 2 * kept[~zero], rtol=1e-6)
    np.testing.assert_array_equal(small_models.numpy(layer(inputs)), kept)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_all_of_it_is_float32_under_every_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer, weights = make()
        inputs = small_models.inputs(8)
        found = layer(inputs)
    finally:
        keras.config.set_dtype_policy(before)
    assert found.dtype == tf.float32
    assert {variable.dtype for variable in layer.variables} == {"float32"}
    np.testing.assert_allclose(
        small_models.numpy(found),
        oracles.embed(SPEC, inputs, weights),
        rtol=1e-5,
        atol=1e-5,
    )


def test_an_id_out_of_range_is_refused_on_the_cpu():
    layer, _ = make()
    inputs = small_models.inputs(4)
    inputs["shop"][2] = 7  # the last table of its variable
    with pytest.raises(tf.errors.InvalidArgumentError):
        layer(inputs)


@LOOKUPS
def test_only_the_rows_of_the_batch_are_read(lookup):
    layer, _ = make(lookup)

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs))
        tables = [embedding.table.value for embedding in layer.tables]
        return tape.gradient(loss, tables)

    inputs = {k: tf.constant(v) for k, v in small_models.inputs(4).items()}
    concrete = step.get_concrete_function(inputs)
    handles = {id(e.table.value.handle) for e in layer.tables}
    big = {id(i) for o, i in concrete.graph.captures if id(o) in handles}
    assert len(big) == 2
    gathers = []
    for operation in concrete.graph.get_operations():
        if not any(id(tensor) in big for tensor in operation.inputs):
            continue
        if operation.type == "ReadVariableOp":  # asked for its shape alone
            assert operation.outputs[0].consumers() == []
        else:
            gathers.append(operation.type)
    assert gathers == ["ResourceGather"] * 2
    for gradient in step(inputs):
        assert isinstance(gradient, tf.IndexedSlices)


def test_an_unknown_lookup_is_refused():
    assert_refused(
        lambda: make_lookup("hash"), "`lookup`", "['take', 'tfrs']", "'hash'"
    )


@LOOKUPS
def test_feature_names_that_are_no_identifiers(lookup):
    """They give what plain names give."""
    rows, weights = [], None
    inputs = small_models.inputs(5, spec=_named("a", "b", "c"))
    for names in (("a", "b", "c"), ("user id (sha)", "größe", "%change")):
        layer = FeatureEmbedding(_named(*names), 4, lookup=lookup)
        layer.build()
        weights = weights or layer.get_weights()
        layer.set_weights(weights)  # tables are drawn by their names
        call = tf.function(lambda inputs, layer=layer: layer(inputs))
        columns = dict(zip(names, inputs.values(), strict=True))
        rows.append(call({k: tf.constant(v) for k, v in columns.items()}))
        assert rows[-1].shape == (5, 3, 4)
    assert np.abs(rows[0]).max(axis=(0, 2)).min() > 0
    np.testing.assert_array_equal(*rows)


def _named(one, other, number):
    return FeatureSpec(
        (
            CategoricalFeature(one, 4),
            CategoricalFeature(other, 3, embedding_dim=2),
        ),
        numeric=(NumericFeature(number),),
    )
