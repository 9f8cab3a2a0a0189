"""State dicts and models that cannot be converted exactly."""

import dataclasses

import numpy as np
import pytest

from tests.errors import assert_refused, message
from tests.interop import states
from wukong_tf import interop
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Task,
    VectorFeature,
)
from wukong_tf.errors import InteropError

SIZES = {
    "no norm": ("fuxictr", "wukong_stack.1.layer_norm."),
    "no projection": (
        "mlcc",
        "wukong_interaction.interaction_layers.0.fmb.ran",
    ),
    "no table": ("clabrugere", "embedding.sparse_embedding."),
    "no head": ("torcheasyrec", "output_mlp."),
    "no residual": ("mlcc", "wukong_interaction.interaction_layers.0.residual"),
    "no layer": ("torcheasyrec", "_wukong_layers."),
}


def refused(call, *expected):
    found = message(InteropError, call)
    for text in expected:
        assert text in found, found


def read(kind, tensors, features=None, **kwargs):
    features = features or states.features(kind)
    return lambda: interop.read(kind, tensors, features, **kwargs)


@pytest.mark.parametrize(("kind", "start"), SIZES.values(), ids=SIZES)
def test_a_missing_array_is_named(kind, start):
    tensors = states.make(kind)
    missing = [key for key in tensors if key.startswith(start)]
    for key in missing:
        del tensors[key]
    found = message(InteropError, read(kind, tensors))
    assert f"interop {kind}: key" in found
    assert any(repr(key) in found for key in missing), found


@pytest.mark.parametrize("kind", interop.KINDS)
def test_another_shape_is_named(kind):
    tensors = states.make(kind)
    for key, tensor in tensors.items():
        wrong = np.concatenate([tensor, tensor])
        error = message(InteropError, read(kind, {**tensors, key: wrong}))
        assert error.startswith(f"interop {kind}: "), error
        error = message(
            InteropError, read(kind, {**tensors, key: tensor[None]})
        )
        assert error.startswith(f"interop {kind}: "), error
    refused(
        read("mlcc", {**states.make("mlcc"), "mlp.0.weight": np.ones((3, 9))}),
        "'mlp.0.weight' must have shape (3, 16); received shape (3, 9)",
    )


def test_an_array_left_over_is_named():
    tensors = states.make("mlcc")
    tensors["embeddings.3.weight"] = np.zeros((4, 4))
    refused(read("mlcc", tensors), "without a counterpart: ['embeddings.3.w")


def test_the_prefix_is_hinted_at():
    tensors = {f"module.{k}": v for k, v in states.make("mlcc").items()}
    refused(read("mlcc", tensors), "pass prefix='module.'")
    refused(read("mlcc", tensors, prefix="model."), "is missing; received []")


def test_modules_without_a_counterpart():
    tensors = states.make("torcheasyrec")
    dense = {"dense_mlp.mlp.0.perceptron.0.weight": np.zeros((2, 1))}
    refused(
        read("torcheasyrec", tensors | dense),
        "'dense_mlp.mlp.0.perceptron.0.weight' cannot be converted",
        "ends in a ReLU",
    )
    norm = {
        f"_wukong_layers.0.fmb.mlp.mlp.0.perceptron.1.{name}": np.ones(3)
        for name in ("weight", "bias")
    }
    refused(
        read("torcheasyrec", tensors | norm),
        "'_wukong_layers.0.fmb.mlp.mlp.0.perceptron.1' has no counterpart",
        "expected a Linear layer",
    )
    dice = {"final_mlp.mlp.0.perceptron.1.alpha": np.ones(3)}
    refused(read("torcheasyrec", tensors | dice), "has no counterpart")
    encoder = "embedding_layer.embedding_layer.feature_encoders.user.weight"
    refused(
        read("fuxictr", states.make("fuxictr") | {encoder: np.ones((2, 2))}),
        encoder,
        "encoders of features",
    )


def test_what_is_equal_only_in_inference_must_be_asked_for():
    tensors = states.make("fuxictr", norms=True)
    refused(
        read("fuxictr", tensors),
        "'fc.mlp.1' is a BatchNorm1d",
        "inference_only=True",
    )
    tensors["fc.mlp.1.running_mean"] = np.zeros(1)
    refused(
        read("fuxictr", tensors, inference_only=True),
        "'fc.mlp.1.running_mean' must have shape (3,); received shape (1,)",
    )
    tensors = states.make("torcheasyrec")
    del tensors["output_mlp.bias"]
    refused(
        read("torcheasyrec", tensors),
        "'output_mlp' is a Linear layer without a bias",
        "inference_only=True",
    )


def test_features_that_do_not_fit():
    tensors = states.make("mlcc")
    names = states.FEATURES
    ids = [CategoricalFeature(name, states.IDS) for name in names]
    refused(
        read("mlcc", tensors, FeatureSpec(ids[:2])),
        "its layers take 3 rows of X_0; the features give 2",
    )
    bag = CategoricalFeature("shop", states.IDS, pooling="sum", max_ids=2)
    refused(
        read("mlcc", tensors, FeatureSpec([*ids[:2], bag])),
        "feature 'shop' must be one id a row",
    )
    narrow = CategoricalFeature("shop", states.IDS, embedding_dim=1)
    refused(
        read("mlcc", tensors, FeatureSpec([*ids[:2], narrow])),
        "feature 'shop' must have the width 4",
        "embedding_dim=1",
    )
    wide = CategoricalFeature("shop", 9)
    refused(
        read("mlcc", tensors, FeatureSpec([*ids[:2], wide])),
        "'embeddings.2.weight' must have shape (9, 4); received shape (4, 4)",
    )
    for spec, kind in (
        (FeatureSpec(ids[:2], [NumericFeature("x")]), "numeric"),
        (FeatureSpec(ids[:2], vector=[VectorFeature("x", 3)]), "vector"),
    ):
        refused(read("mlcc", tensors, spec), f"{kind} features", "['x']")
    tasks = [Task("click"), Task("buy", "bought")]
    refused(
        read("mlcc", tensors, FeatureSpec(ids, tasks=tasks)),
        "expected one task",
    )


def test_tables_that_are_shared_must_be_equal():
    ids = [CategoricalFeature(n, states.IDS) for n in states.FEATURES]
    ids[1] = dataclasses.replace(ids[1], table="user")
    tensors, spec = states.make("fuxictr"), FeatureSpec(ids)
    start = "embedding_layer.embedding_layer.embedding_layers"
    refused(
        read("fuxictr", tensors, spec), f"{start}.item.weight", "it differs"
    )
    tensors[f"{start}.item.weight"] = tensors[f"{start}.user.weight"]
    config, arrays = interop.read("fuxictr", tensors, spec)
    assert "tables/item" not in arrays
    again = interop.write("fuxictr", config, arrays)
    assert again.keys() == tensors.keys()
    own = [CategoricalFeature(n, states.IDS) for n in states.FEATURES[:2]]
    spec = FeatureSpec(own, [NumericFeature("price")])
    refused(
        read("clabrugere", states.make("clabrugere"), spec),
        "features 'user' and 'item' must name one `table`",
    )


def test_a_rank_above_the_embeddings_is_refused():
    tensors = states.make("mlcc", rank=4)
    assert_refused(read("mlcc", tensors), "`rank` of layer 0", "received 4")


def test_an_unknown_kind():
    refused(lambda: interop.read_stack("dlrm", {}), "`kind` must be one of")


def test_models_that_an_implementation_lacks():
    config, arrays = interop.read(
        "fuxictr", states.make("fuxictr"), states.features("fuxictr")
    )
    mlcc, _ = interop.read("mlcc", states.make("mlcc"), states.features("mlcc"))
    plain = dataclasses.replace(
        config, fmb_activation="linear", residual_bias=False
    )
    for kind, other, *expected in (
        ("mlcc", config, "`residual_bias` must be False; received True"),
        ("torcheasyrec", config, "`fmb_activation` must be 'linear'"),
        ("fuxictr", plain, "`fmb_activation` must be 'relu'"),
        (
            "fuxictr",
            dataclasses.replace(config, mlp_glu=True),
            "`mlp_glu` must be False; received True",
        ),
        (
            "fuxictr",
            dataclasses.replace(config, norm_epsilon=1.0),
            "`norm_epsilon` must be 1e-05; received 1.0",
        ),
        (
            "fuxictr",
            dataclasses.replace(config, fm="attentive"),
            "`fm` must be 'projected' or 'full'; received 'attentive'",
        ),
        (
            "fuxictr",
            dataclasses.replace(config, remove=("lcb",)),
            "`remove` must be ()",
        ),
        (
            "fuxictr",
            dataclasses.replace(config, num_fmb=(2, 3)),
            "all layers must have the same sizes",
        ),
        (
            "mlcc",
            dataclasses.replace(mlcc, mlp_units=(3,)),
            "`mlp_units` must have at most 0 hidden layers; received (3,)",
        ),
        (
            "torcheasyrec",
            dataclasses.replace(plain, head_units=()),
            "`head_units` must have at least 1 hidden layers; received ()",
        ),
    ):
        refused(
            lambda k=kind, o=other: interop.write(k, o, arrays),
            f"interop {kind}: ",
            *expected,
        )


def test_batch_normalizations_that_an_implementation_must_have():
    tensors = states.make("clabrugere", units=(3,), head=(3, 3))
    config, arrays = interop.read(
        "clabrugere",
        tensors,
        states.features("clabrugere"),
        inference_only=True,
    )
    refused(
        lambda: interop.write("clabrugere", config, arrays),
        "batch normalization",
        "inference_only=True",
    )
    uneven = dataclasses.replace(config, head_units=(3, 4))
    refused(
        lambda: interop.write(
            "clabrugere", uneven, arrays, inference_only=True
        ),
        "the same units; received (3, 4)",
    )


def written(kind, change, config_change=None):
    """Returns the message of writing arrays that were changed."""
    tensors = states.make(kind)
    config, arrays = interop.read(kind, tensors, states.features(kind))
    config = dataclasses.replace(config, **(config_change or {}))
    change(arrays)
    return message(InteropError, lambda: interop.write(kind, config, arrays))


@pytest.mark.parametrize("kind", ["mlcc", "torcheasyrec"])
def test_writing_names_each_array_that_is_missing_or_has_another_shape(kind):
    config, arrays = interop.read(
        kind, states.make(kind), states.features(kind)
    )
    for name, array in arrays.items():
        assert repr(name) in written(kind, lambda a, n=name: a.pop(n))
        wrong = np.concatenate([array, array])
        found = written(kind, lambda a, n=name, w=wrong: a.update({n: w}))
        assert repr(name) in found and str(array.shape) in found
        assert str(wrong.shape) in found
    before = [f"dense/stack/layer_{config.num_layers}/lcb/kernel"]
    found = written(kind, lambda a: a.update({before[0]: np.ones(3, "f4")}))
    assert "without a counterpart" in found and before[0] in found


def test_writing_arrays_of_more_layers_is_refused():
    config, _ = interop.read(
        "mlcc", states.make("mlcc"), states.features("mlcc")
    )
    fewer = {"num_layers": config.num_layers - 1}
    assert "layer_" in written("mlcc", lambda a: None, fewer)


@pytest.mark.parametrize("dtype", ["int8", "complex64"])
def test_numbers_of_another_kind_are_refused(dtype):
    tensors = states.make("mlcc")
    key = next(iter(tensors))
    tensors[key] = tensors[key].astype(dtype)
    refused(read("mlcc", tensors), repr(key), "floating-point", dtype)
