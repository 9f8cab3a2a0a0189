"""cost(): what Keras counts, and what TensorFlow's profiler counts."""

import dataclasses
import random

import numpy as np
import pytest

from tests import backends
from tests.errors import assert_refused
from tests.worlds import small_models
from wukong_tf.config import (
    MODEL_CONFIGS,
    CategoricalFeature,
    DCNv2Config,
    DLRMConfig,
    EmbeddingGroup,
    EmbeddingModelConfig,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.models import build_model
from wukong_tf.scaling import cost, parts


def random_features(draw):
    """A spec with any mixture of what features can be."""
    categorical = []
    for index in range(draw.randint(1, 5)):
        bag = {}
        if draw.random() < 0.4:
            pooling = draw.choice(["sum", "mean", "sqrtn"])
            bag = {"pooling": pooling, "max_ids": draw.randint(1, 4)}
        group = draw.choice([None, None, "a", "b"])
        units = 1 if group else draw.choice([1, 1, 2, 4])
        width = draw.choice([None, 3, 8]) if units == 1 else None
        categorical.append(
            CategoricalFeature(
                f"c{index}",
                draw.randint(2, 50),
                embedding_dim=width,
                units=units,
                keep_units=draw.choice([None, 1]),
                embedding_group=group,
                **bag,
            )
        )
    first = categorical[0]
    categorical.append(
        dataclasses.replace(first, name="shared", table=first.name)
    )
    groups = sorted({f.embedding_group for f in categorical} - {None})
    return FeatureSpec(
        categorical,
        [NumericFeature(f"n{i}") for i in range(draw.randint(0, 3))],
        [VectorFeature("v", 5, draw.randint(1, 2))] * draw.randint(0, 1),
        [Task("click", "a"), Task("buy", "b")][: draw.randint(1, 2)],
        embedding_groups=[
            EmbeddingGroup(name, draw.randint(1, 2), draw.choice([(), (6,)]))
            for name in groups
        ],
    )


def random_config(seed):
    """Any model over any features."""
    draw = random.Random(seed)
    features = random_features(draw)
    names = list(MODEL_CONFIGS)
    name = names[seed // 2 % len(names)] if seed % 2 else "wukong"
    if name == "logistic_regression":
        return LogisticRegressionConfig(features)
    shared = {
        "embedding_dim": draw.choice([4, 8]),
        "bottom_mlp_units": draw.choice([(), (5,), (7, 6)]),
        "numeric_embeddings": draw.randint(1, 3),
    }
    if name != "wukong":
        config = MODEL_CONFIGS[name](features, **shared)
        if name == "rank_mixer":
            config = dataclasses.replace(
                config,
                num_tokens=draw.choice([1, 2, 4]),
                num_layers=draw.randint(1, 3),
                token_dim=8,
                expansion=draw.randint(1, 3),
            )
        if name == "dcn_v2":
            config = dataclasses.replace(
                config,
                projection_dim=draw.choice([None, 3]),
                structure=draw.choice(["stacked", "parallel"]),
            )
        return config
    layers = draw.randint(1, 3)
    rows = [draw.randint(1, 4) for _ in range(layers)]
    remove = [(), ("fmb",), ("lcb",), ("residual",), ("linear_path",)]
    return WukongConfig(
        features,
        **shared,
        num_layers=layers,
        num_fmb=rows,
        num_lcb=rows[::-1],
        rank=1,
        mlp_units=draw.choice([(), (9,), ((6, 5), *[(4,)] * (layers - 1))]),
        fm=draw.choice(["projected", "full", "attentive"]),
        head_units=draw.choice([(), (7,)]),
        attention_embeddings=draw.randint(1, 3),
        attention_units=draw.choice([(), (4,)]),
        remove=draw.choice(remove),
        fmb_activation=draw.choice(["linear", "relu"]),
        residual_bias=draw.choice([False, True]),
        mlp_bias=draw.choice([False, True]),
        mlp_glu=draw.choice([False, True]),
    )


@pytest.mark.parametrize("seed", range(40))
def test_parameters_are_those_that_keras_counts(seed):
    config = random_config(seed)
    found = cost(config)
    model = build_model(config)
    assert found.parameters == model.count_params()
    tables = sum(int(np.prod(t.table.shape)) for t in model.tables)
    assert found.table_parameters == tables
    assert found.dense_parameters == model.count_params() - tables
    assert all(
        min(part.parameters, part.macs, part.elementwise, part.activations) >= 0
        for part in found.parts
    )


def profiled_products(model, inputs):
    """Multiply-adds that TensorFlow's profiler counts in matrix products."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    traced = tf.function(lambda batch: model(batch, training=False))
    concrete = traced.get_concrete_function(backends.tensors(inputs))
    frozen = convert_to_constants.convert_variables_to_constants_v2(concrete)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
        options = tf.compat.v1.profiler.ProfileOptionBuilder
        options = options(options.float_operation()).with_empty_output()
        found = tf.compat.v1.profiler.profile(
            graph, cmd="op", options=options.build()
        )
    total, node = 0, found
    while node.children:  # a chain, each a kind of operation
        (node,) = node.children
        total += node.float_ops if "MatMul" in node.name else 0
    return total


@backends.tensorflow_only
@pytest.mark.parametrize(
    "config",
    [
        *(random_config(seed) for seed in range(0, 12)),
        WukongConfig(
            FeatureSpec(
                tuple(CategoricalFeature(f"c{i}", 50) for i in range(39))
            ),
            embedding_dim=64,
            num_fmb=16,
            num_lcb=16,
            rank=24,
            mlp_units=(512, 512),
            head_units=(512, 512),
        ),
    ],
    ids=lambda config: config.model,
)
def test_products_are_those_that_tensorflow_counts(config):
    rows = 16
    inputs = small_models.inputs(rows, spec=config.features)
    counted = profiled_products(build_model(config), inputs)
    expected = cost(config).forward_flop * rows
    assert counted == pytest.approx(expected, rel=0.01)


def test_training_is_six_operations_a_multiply_add():
    found = cost(small_models.CONFIG, batch_size=3)
    assert found.forward_flop == 2 * found.macs
    assert found.training_flop == 6 * found.macs
    day = 24 * 60 * 60 * 1e15
    rows = int(day / found.training_flop)
    assert found.pf_days(rows) == pytest.approx(1.0, rel=1e-6)


def test_the_dlrm_that_the_paper_prints():
    """Table 3 of arXiv 2403.02545: 26,136,307,201 parameters, 4.62 MFLOP.

    Tables of 204,184,585 rows by 128, one row for 13 numbers through
    512-256-128, dot products of 27 rows, and 512-512-1 on top. The printed
    operations leave out the gradient for the 13 raw numbers.
    """
    rows = [204_184_585 - 25, *[1] * 25]
    spec = FeatureSpec(
        tuple(CategoricalFeature(f"c{i}", n) for i, n in enumerate(rows)),
        tuple(NumericFeature(f"n{i}") for i in range(13)),
    )
    found = cost(
        DLRMConfig(
            spec,
            embedding_dim=128,
            bottom_mlp_units=(512, 256),
            head_units=(512, 512),
        )
    )
    assert found.parameters == 26_136_307_201
    assert found.training_flop - 2 * 13 * 512 == pytest.approx(
        4.62e6, abs=0.005e6
    )


def test_bytes_and_state():
    spec = FeatureSpec((CategoricalFeature("ad", 1000, 8, units=1),))
    config = WukongConfig(spec, embedding_dim=16, rank=1)
    found = cost(config, batch_size=5)
    assert found.table_bytes == 4 * 1000 * 8
    assert found.table_state_bytes == 4 * 1000
    assert found.dense_state_bytes == 2 * 4 * found.dense_parameters
    adam = cost(config, batch_size=5, table_optimizer="adam")
    assert adam.table_state_bytes == 2 * found.table_bytes
    assert adam.bytes - found.bytes == 4 * 1000 * (2 * 8 - 1)
    assert cost(config, batch_size=10).activation_bytes == (
        2 * found.activation_bytes
    )
    assert found.bytes == (
        found.table_bytes
        + found.table_state_bytes
        + 3 * found.dense_bytes
        + found.activation_bytes
    )


def test_what_takes_less_memory():
    config = dataclasses.replace(
        small_models.CONFIG, num_layers=6, mlp_units=(256, 256)
    )
    wide = cost(config, batch_size=64)
    narrow = cost(config, batch_size=64, dtype="mixed_bfloat16")
    assert wide.activation_bytes / 2 < narrow.activation_bytes
    assert narrow.activation_bytes < wide.activation_bytes
    again = cost(config, batch_size=64, remat=True)
    assert again.activation_bytes < wide.activation_bytes / 2
    assert again.parameters == narrow.parameters == wide.parameters


def test_a_cut_feature_takes_less():
    spec = FeatureSpec((CategoricalFeature("ad", 100, units=4),))
    config = WukongConfig(spec, embedding_dim=8, rank=1)
    cut = dataclasses.replace(config, features=spec.cut(1))
    assert cost(config).table_parameters == 100 * 32
    assert cost(cut).table_parameters == 100 * 8
    assert cost(cut).dense_parameters == cost(config).dense_parameters


def test_refuses_what_cannot_be():
    spec = FeatureSpec((CategoricalFeature("ad", 10**12),))
    assert_refused(
        lambda: cost(WukongConfig(spec, rank=2)),
        "`rank` of layer 0",
        "received 2",
    )
    config = WukongConfig(spec, rank=1)
    for size in (0, -1, 1.5, None):
        assert_refused(lambda s=size: cost(config, batch_size=s), "batch_size")
    assert_refused(lambda: cost(config, dtype="float16"), "'float16'")


def test_every_model_has_its_cost():
    spec = small_models.SPEC
    for config in MODEL_CONFIGS.values():
        found = cost(config(spec))
        model = build_model(config(spec))
        assert found.parameters == model.count_params()
        assert len({part.name for part in found.parts}) == len(found.parts)
    assert isinstance(DCNv2Config(spec), EmbeddingModelConfig)
    names = [table.name for table in parts.tables(DCNv2Config(spec))]
    assert names == ["user", "item", "city", "shop"]
