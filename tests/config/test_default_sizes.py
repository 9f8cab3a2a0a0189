"""Defaults fit any log, and what was chosen is what is built."""

import dataclasses

import numpy as np
import pytest

from tests.oracles import baselines, models
from tests.worlds import small_models
from wukong_tf.config import (
    MODEL_CONFIGS,
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    WukongConfig,
    sizes_for,
)
from wukong_tf.errors import ConfigError
from wukong_tf.models import build_model
from wukong_tf.runs.arrays import model_slots, read_arrays
from wukong_tf.scaling import cost


def spec_of(ids: int, numbers: int = 0) -> FeatureSpec:
    return FeatureSpec(
        tuple(CategoricalFeature(f"id_{i}", 3) for i in range(ids)),
        tuple(NumericFeature(f"number_{i}") for i in range(numbers)),
    )


def rows_into(config):
    """Embeddings that enter each layer, counted from the sizes."""
    rows = [config.num_embeddings]
    for fmb, lcb, _, _ in config.layer_sizes:
        rows.append(fmb + lcb)
    return rows[:-1]


@pytest.mark.parametrize("count", [*range(1, 41), 64, 100, 129, 720])
def test_every_rank_fits_and_sizes_grow_with_the_log(count):
    config = WukongConfig(spec_of(count))
    config.check_ranks()
    for rows, (_, _, rank, _) in zip(
        rows_into(config), config.layer_sizes, strict=True
    ):
        assert 1 <= rank <= rows
        if count <= 32:
            assert rank == min(8, rows)
    assert WukongConfig.from_dict(config.to_dict()) == config
    if count > 1:
        fewer = cost(WukongConfig(spec_of(count - 1))).dense_parameters
        assert cost(config).dense_parameters >= fewer


def test_sizes_of_logs_of_up_to_32_embeddings_stay():
    for count in (8, 32):
        config = WukongConfig(spec_of(count))
        sizes = (config.num_fmb, config.num_lcb, config.rank)
        assert sizes == (8, 8, 8)
        assert config.mlp_units == config.head_units == (128,)
    assert sizes_for(33) != sizes_for(32)


def test_what_is_given_is_kept_and_what_is_not_follows_it():
    config = WukongConfig(
        spec_of(5), num_layers=2, num_fmb=(1, 4), num_lcb=2, mlp_units=(3,)
    )
    assert (config.num_fmb, config.num_lcb) == ((1, 4), 2)
    assert config.mlp_units == (3,)
    assert config.rank == (5, 3)  # the second layer gets 1 + 2 rows
    wider = dataclasses.replace(config, features=spec_of(9), rank=None)
    assert wider.rank == (8, 3)
    with pytest.raises(ConfigError, match="`rank` of layer 0.*received 6"):
        WukongConfig(spec_of(5), rank=6).check_ranks()


@pytest.mark.parametrize("fm", ["projected", "full", "attentive"])
@pytest.mark.parametrize("ids, numbers", [(1, 0), (0, 1), (2, 0), (3, 2)])
def test_wukong_of_few_features_is_built_and_scores(fm, ids, numbers):
    check_scores(WukongConfig(spec_of(ids, numbers), fm=fm))


@pytest.mark.parametrize("name", sorted(set(MODEL_CONFIGS) - {"wukong"}))
@pytest.mark.parametrize("ids, numbers", [(1, 0), (0, 1), (3, 2)])
def test_the_other_models_take_any_features_too(name, ids, numbers):
    if name == "dlrm" and (ids, numbers) == (1, 0):
        with pytest.raises(ConfigError, match="at least 2 embeddings"):
            MODEL_CONFIGS[name](spec_of(ids, numbers))
        return
    check_scores(MODEL_CONFIGS[name](spec_of(ids, numbers)))


def check_scores(config):
    """Compares logits with NumPy's, at the weights of a new model."""
    model = build_model(config)
    inputs = small_models.inputs(3, spec=config.features)
    weights = small_models.float64(read_arrays(model_slots(model)))
    if config.model == "wukong":
        expected = models.wukong(config, inputs, weights)
    elif config.model == "logistic_regression":
        expected = models.logistic_regression(config.features, inputs, weights)
    else:
        expected = baselines.logits(config, inputs, weights)["click"]
    found = small_models.numpy(model(inputs)["click"])
    assert found.shape == (3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
