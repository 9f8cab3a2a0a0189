"""Raw numbers become what the spec says, on every backend."""

from typing import Any

import keras
import numpy as np
import pytest

from tests import backends
from tests.oracles import models as oracles
from tests.worlds import small_models
from tests.worlds.small_models import numpy
from wukong_tf.config import (
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    WukongConfig,
)
from wukong_tf.embeddings.numbers import NumberTransforms
from wukong_tf.models import build_model

KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"clip_min": 0.0},
    {"clip_max": 1.0},
    {"missing": 7.0},
    {"missing": 7.0, "clip_max": 3.0},
    {"mean": 2.0, "stddev": 4.0},
    {"missing": 7.0, "mean": 2.0, "stddev": 4.0},
    {"transform": "log1p"},
    {"transform": "log1p", "missing": -1.0, "clip_min": -3.0},
    {"transform": "log1p", "mean": 0.5, "stddev": 2.0, "clip_max": 9.0},
)
NUMERIC = tuple(NumericFeature(f"n{i}", **kind) for i, kind in enumerate(KINDS))
VALUES = np.array([-2, 0.5, 9, np.nan, 0, -0.0, 1e30, -1e30, 1e-30, 3e-5])
# Several rows, as the norm of a single number is all rounding.
SIZES = {"rank": 2, "numeric_embeddings": 3}
MODES = pytest.mark.parametrize("compiled", [False, True])
SUBSETS = [NUMERIC, NUMERIC[:1], NUMERIC[1:2], NUMERIC[3:4], NUMERIC[7:]]


def raw(spec, values=VALUES, seed=3):
    """The values and others for every feature, in an order of its own."""
    random = np.random.default_rng(seed)
    return {
        feature.name: np.concatenate(
            [random.permutation(values), random.normal(2, 20, 30)]
        ).astype(np.float32)
        for feature in spec.numeric
    }


@MODES
@pytest.mark.parametrize("dtype, rtol", [("float32", 4e-7), ("float64", 1e-15)])
@pytest.mark.parametrize("numeric", SUBSETS)
def test_each_number_equals_its_rule(numeric, dtype, rtol, compiled):
    if backends.BACKEND == "jax" and dtype == "float64":
        pytest.skip("JAX has no float64 unless a process asks for it.")
    spec = FeatureSpec(numeric=numeric)
    inputs = raw(spec)
    x = np.stack([inputs[f.name] for f in numeric], 1).astype(dtype)
    transforms = NumberTransforms(numeric)
    function = backends.compiled(transforms) if compiled else transforms
    found = function(keras.ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    expected = oracles.numbers(spec, small_models.float64(inputs))
    np.testing.assert_allclose(numpy(found), expected, rtol, rtol)


@MODES
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [WukongConfig, LogisticRegressionConfig])
def test_models_take_raw_numbers(make, dtype, compiled):
    """As a model without rules takes what the rules give."""
    sizes = SIZES if make is WukongConfig else {}
    config = make(FeatureSpec(numeric=NUMERIC), **sizes)
    without = tuple(NumericFeature(f.name) for f in NUMERIC)
    plain = make(FeatureSpec(numeric=without), **sizes)
    inputs = raw(config.features, VALUES[np.abs(VALUES) < 1e3])
    given = oracles.numbers(config.features, small_models.float64(inputs))
    standardized = {
        feature.name: given[:, place].astype(np.float32)
        for place, feature in enumerate(NUMERIC)
    }
    model = small_models.make(config, dtype=dtype)
    call = backends.compiled(model) if compiled else model
    found = numpy(call(backends.tensors(inputs))["click"])
    other = small_models.make(plain, dtype=dtype)
    expected = numpy(other(backends.tensors(standardized))["click"])
    # Sums of numbers up to the largest round by that one's last bits.
    tolerance = 1e-4 if dtype == "float32" else 0.05
    scale = 1 + np.abs(expected).max()
    np.testing.assert_allclose(found, expected, tolerance, tolerance * scale)


def test_rules_are_no_weights():
    spec = FeatureSpec(numeric=NUMERIC)
    with_rules = build_model(LogisticRegressionConfig(spec))
    assert {weight.path for weight in with_rules.weights} == {
        "logistic_regression/bias",
        "logistic_regression/feature_embedding/numeric/dense_0/kernel",
        "logistic_regression/feature_embedding/numeric/dense_0/bias",
    }


def test_integers_are_numbers_too():
    spec = FeatureSpec(numeric=NUMERIC[7:9])
    model = small_models.make(LogisticRegressionConfig(spec))
    whole = {"n7": np.array([3, -4, 0]), "n8": np.array([1, -9, 2**31])}
    floats = {name: value.astype(np.float32) for name, value in whole.items()}
    np.testing.assert_array_equal(
        numpy(model(whole)["click"]), numpy(model(floats)["click"])
    )
