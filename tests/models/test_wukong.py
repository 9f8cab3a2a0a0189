"""The whole model against float64 NumPy, and what Keras does with it."""

import dataclasses

import keras
import numpy as np
import pytest

from tests import backends
from tests.oracles import models as oracles
from tests.worlds import small_models
from tests.worlds.small_models import CONFIG, SPEC, numpy
from wukong_tf.config import FeatureSpec, NumericFeature, Task
from wukong_tf.models import ClickModel, Wukong, build_model
from wukong_tf.names import identifier
from wukong_tf.runs.arrays import model_slots, read_arrays

SHAPES = {
    "projected": CONFIG,
    "full": dataclasses.replace(CONFIG, fm="full"),
    "relu and bias": dataclasses.replace(
        CONFIG, fmb_activation="relu", residual_bias=True
    ),
    "gated MLPs without bias": dataclasses.replace(
        CONFIG, mlp_activation="silu", mlp_bias=False, mlp_glu=True
    ),
    "norms of a large epsilon": dataclasses.replace(CONFIG, norm_epsilon=2.0),
    "a size for each layer": dataclasses.replace(
        CONFIG,
        num_fmb=(2, 4),
        num_lcb=(6, 1),
        rank=(3, 1),
        mlp_units=((7,), (4, 3)),
        bottom_mlp_units=(),
        head_units=(),
    ),
}


@pytest.fixture(scope="module")
def model():
    """A model with random weights, which no test changes."""
    return small_models.make()


def arrays(model):
    return read_arrays(model_slots(model))


@small_models.LOOKUPS
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_logits_equal_the_oracle(config, lookup):
    model = small_models.make(config, lookup=lookup)
    inputs = small_models.inputs(16)
    weights = small_models.float64(small_models.random_weights(model))
    expected = oracles.wukong(config, small_models.float64(inputs), weights)
    found = model(inputs)
    assert found.keys() == {"click"}
    assert tuple(found["click"].shape) == (16, 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(
        numpy(found["click"]), expected, rtol=1e-4, atol=1e-5
    )


def test_one_kind_of_feature_alone():
    spec = FeatureSpec(numeric=(NumericFeature("x"),), tasks=(Task("buy"),))
    config = small_models.wukong(spec, num_layers=1, rank=1)
    model = small_models.make(config)
    inputs = small_models.inputs(5, spec=spec)
    weights = small_models.float64(arrays(model))
    np.testing.assert_allclose(
        numpy(model(inputs)["buy"]),
        oracles.wukong(config, small_models.float64(inputs), weights),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_call_is_score_of_embed(model, compiled):
    inputs = backends.tensors(small_models.inputs(6))
    embed, score, call = model.embed, model.score, model
    if compiled:
        embed, score, call = map(backends.compiled, (embed, score, call))
    x = embed(inputs)
    assert tuple(x.shape) == (6, 8, 6)
    np.testing.assert_allclose(
        numpy(score(x)["click"]), numpy(call(inputs)["click"]), rtol=1e-5
    )
    expected = oracles.embed(
        SPEC, inputs_of(6), small_models.float64(arrays(model))
    )
    np.testing.assert_allclose(numpy(x), expected, rtol=1e-5, atol=1e-5)


def test_layer_outputs_end_in_what_the_heads_read(model):
    x = model.embed(backends.tensors(small_models.inputs(6)))
    outputs = model.layer_outputs(x)
    assert [tuple(y.shape) for y in outputs] == [(6, 5, 6), (6, 5, 6)]
    flat = keras.ops.reshape(outputs[-1], (6, -1))
    np.testing.assert_allclose(
        numpy(model.heads[0](flat)), numpy(model.score(x)["click"]), rtol=1e-5
    )


def inputs_of(rows):
    return small_models.float64(small_models.inputs(rows))


def test_weights_are_there_before_the_first_call():
    model = Wukong(CONFIG)
    assert model.built
    before = [variable.path for variable in model.variables]
    model(small_models.inputs(2))
    assert [variable.path for variable in model.variables] == before
    assert model.count_params() == sum(
        np.size(v) for v in arrays(model).values()
    )


def test_compile_and_fit_move_every_weight():
    keras.utils.set_random_seed(3)
    model = Wukong(CONFIG)
    before = {name: value.copy() for name, value in arrays(model).items()}
    inputs = small_models.inputs(64)
    clicks = {"click": (inputs["user"] % 2).astype(np.float32)[:, None]}
    model.compile(
        keras.optimizers.Adam(0.02),
        {"click": keras.losses.BinaryCrossentropy(from_logits=True)},
    )
    with backends.recording():
        history = model.fit(inputs, clicks, 16, epochs=8, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    for name, value in arrays(model).items():
        assert (value != before[name]).any(), name
    scores = model.predict(inputs, verbose=0)["click"]
    np.testing.assert_allclose(
        scores, numpy(model(inputs)["click"]), rtol=1e-4, atol=1e-5
    )


@small_models.LOOKUPS
def test_keras_file_keeps_every_bit(tmp_path, lookup):
    model = small_models.make(lookup=lookup, dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    other = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(other, Wukong)
    assert other.config == CONFIG
    assert other.dtype_policy.name == "mixed_bfloat16"
    kinds = {type(table.lookup).__name__ for table in other.tables}
    assert kinds == {"TakeLookup"}
    theirs = arrays(other)
    for name, value in arrays(model).items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    inputs = small_models.inputs(7)
    np.testing.assert_array_equal(
        numpy(model(inputs)["click"]), numpy(other(inputs)["click"])
    )


def test_weights_file_keeps_every_bit(tmp_path, model):
    model.save_weights(tmp_path / "model.weights.h5")
    other = Wukong(CONFIG)
    other.load_weights(tmp_path / "model.weights.h5")
    theirs = arrays(other)
    for name, value in arrays(model).items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_config_round_trip():
    model = Wukong(SHAPES["a size for each layer"], name="mine")
    other = Wukong.from_config(model.get_config())
    assert other.get_config() == model.get_config()
    assert (other.config, other.name) == (model.config, "mine")


def test_bfloat16_keeps_tables_norms_and_logits_in_float32(model):
    mixed = small_models.make(dtype="mixed_bfloat16")
    assert {variable.dtype for variable in mixed.variables} == {"float32"}
    norms = [
        layer
        for layer in mixed._flatten_layers()
        if isinstance(layer, keras.layers.LayerNormalization)
    ]
    assert len(norms) == 4
    assert {layer.compute_dtype for layer in norms} == {"float32"}
    dense = [
        layer
        for layer in mixed.stack._flatten_layers()
        if isinstance(layer, keras.layers.Dense)
    ]
    assert dense and {layer.compute_dtype for layer in dense} == {"bfloat16"}
    inputs = small_models.inputs(32)
    x = mixed.embed(inputs)
    assert keras.backend.standardize_dtype(x.dtype) == "float32"
    np.testing.assert_array_equal(numpy(x), numpy(model.embed(inputs)))
    found, exact = mixed(inputs)["click"], model(inputs)["click"]
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    difference = np.abs(numpy(found) - numpy(exact)).max()
    # A rounding is 2^-8; some tens of them make it to the logit.
    assert 0 < difference < 10 * 2**-8 * np.abs(numpy(exact)).max()


def test_raw_numbers_are_not_rounded_to_bfloat16():
    """1000 and 1001 are one number in bfloat16."""
    model = small_models.make(dtype="mixed_bfloat16")
    inputs = small_models.inputs(2)
    inputs["age"] = np.array([1000, 1001], np.float32)
    for name in SPEC.feature_names:
        if name != "age":
            inputs[name][1] = inputs[name][0]
    rows = numpy(model.embed(inputs))
    assert (rows[0, 5] != rows[1, 5]).any()


def test_paths_do_not_depend_on_what_was_made_before():
    config = dataclasses.replace(CONFIG, dropout=0.1, embedding_dropout=0.1)
    first = Wukong(config)
    names = [slot.name for slot in model_slots(first)]
    paths = [variable.path for variable in first.trainable_variables]
    keras.Sequential([keras.layers.Dense(1), keras.layers.Dropout(0.1)])
    Wukong(config)
    Wukong(CONFIG, name="another")
    second = Wukong(config)
    assert [variable.path for variable in second.trainable_variables] == paths
    assert [slot.name for slot in model_slots(second)] == names
    assert len(set(names)) == len(names)


def test_dropout_is_on_in_training_alone():
    config = dataclasses.replace(CONFIG, dropout=0.5)
    model = small_models.make(config)
    inputs = small_models.inputs(6)
    kept = numpy(model(inputs)["click"])
    np.testing.assert_array_equal(numpy(model(inputs)["click"]), kept)
    first, second = (
        numpy(model(inputs, training=True)["click"]) for _ in range(2)
    )
    assert (first != kept).any() and (first != second).any()
    x = numpy(model.embed(inputs, training=True))
    np.testing.assert_array_equal(x, numpy(model.embed(inputs)))


def test_the_same_seed_makes_the_same_model():
    made = []
    for seed in (5, 5, 6):
        keras.utils.set_random_seed(seed)
        made.append(numpy(Wukong(CONFIG)(small_models.inputs(4))["click"]))
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != made[2]).all()


def test_a_task_whose_name_is_no_identifier():
    spec = FeatureSpec(numeric=(NumericFeature("x"),), tasks=(Task("a é%"),))
    config = small_models.wukong(spec, num_layers=1, rank=1)
    model = small_models.make(config)
    inputs = {"x": np.float32([1.0, 2.0])}
    found = backends.compiled(model)(backends.tensors(inputs))["a é%"]
    weights = {
        name.replace(f"head_{identifier('a é%')}", "head_a é%"): array
        for name, array in small_models.float64(arrays(model)).items()
    }
    expected = oracles.wukong(config, small_models.float64(inputs), weights)
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_a_rank_above_the_embeddings_is_refused():
    with pytest.raises(ValueError, match="`rank`.* most 8,.*received 9"):
        Wukong(dataclasses.replace(CONFIG, rank=9))


def test_build_model_makes_what_the_config_names():
    model = build_model(CONFIG, name="mine", dtype="mixed_bfloat16")
    assert type(model) is Wukong
    assert (model.name, model.dtype_policy.name) == ("mine", "mixed_bfloat16")
    assert issubclass(Wukong, ClickModel)
