"""FeatureSpec and the model configurations: hostile dicts and JSON."""

import pytest

from tests.errors import assert_refused
from wukong_tf.config import (
    MODEL_CONFIGS,
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    WukongConfig,
    model_config_from_dict,
)

SPEC = FeatureSpec(categorical=(CategoricalFeature("ad", 100),))


def test_unknown_and_missing_keys():
    data = {"categorical": [{"name": "ad", "num_ids": 9, "dims": 3}]}
    assert_refused(
        lambda: FeatureSpec.from_dict(data),
        "features: 'categorical'[0]: unknown key 'dims'",
        "'num_ids'",
    )
    data = {"categorical": [{"name": "a", "num_ids": 9}, {"name": "ad"}]}
    assert_refused(
        lambda: FeatureSpec.from_dict(data),
        "features: 'categorical'[1]: key 'num_ids' is missing",
    )
    assert_refused(
        lambda: FeatureSpec.from_dict({"nums": []}), "unknown key 'nums'"
    )
    for key in (None, 3, "Features", "model "):
        data = {**WukongConfig(SPEC).to_dict(), key: 1}
        assert_refused(lambda d=data: model_config_from_dict(d), repr(key))
    for model in ("wukong", "logistic_regression"):
        data = {"model": model}
        assert_refused(
            lambda d=data: model_config_from_dict(d),
            f"model {model}: key 'features' is missing",
        )
    data = {"model": "wukong", "features": {"numeric": [{}]}}
    assert_refused(
        lambda: model_config_from_dict(data),
        "model wukong: 'features': 'numeric'[0]: key 'name' is missing",
    )


@pytest.mark.parametrize("value", [None, 3, "x", True, [], [["a", 1]]])
def test_refuses_what_is_no_object(value):
    assert_refused(lambda: FeatureSpec.from_dict(value), "expected an object")
    assert_refused(lambda: WukongConfig.from_dict(value), "expected an object")
    assert_refused(
        lambda: model_config_from_dict(value), "`model` must be one of"
    )
    data = {"model": "wukong", "features": value}
    assert_refused(
        lambda: model_config_from_dict(data), "'features': expected an"
    )
    data = {"categorical": [value]}
    assert_refused(
        lambda: FeatureSpec.from_dict(data), "'categorical'[0]: expected"
    )
    if not isinstance(value, list):
        data = {"categorical": value}
        assert_refused(lambda: FeatureSpec.from_dict(data), "expected a list")


@pytest.mark.parametrize(
    "value", [None, 3, "dlrm_v3", "", True, [], {}, ["wukong"]]
)
def test_refuses_an_unknown_model(value):
    assert_refused(
        lambda: model_config_from_dict({"model": value}),
        repr(sorted(MODEL_CONFIGS)),
        repr(value),
    )


def test_refuses_the_configuration_of_another_model():
    data = LogisticRegressionConfig(SPEC).to_dict()
    assert_refused(
        lambda: WukongConfig.from_dict(data), "'logistic_regression'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '{"numeric": [}',
        b"\xff\xfe\xff",
        '{"numeric": [], "numeric": [{"name": "a"}]}',
        "[" * 200_000,
        '{"numeric":' * 200_000,
        '{"numeric": [{"name": "a", "mean": 1' + "0" * 5000 + "}]}",
    ],
    ids=lambda text: repr(text[:12]),
)
def test_refuses_what_is_no_json(text):
    assert_refused(
        lambda: FeatureSpec.from_json(text, "runs/x/features.json"),
        "runs/x/features.json: not valid JSON",
    )


def test_a_repeated_key_is_named():
    text = '{"numeric": [{"name": "a", "mean": 1, "mean": 2}]}'
    assert_refused(
        lambda: FeatureSpec.from_json(text), "repeats the keys ['mean']"
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_refuses_numbers_that_json_should_not_have(text):
    text = f'{{"numeric": [{{"name": "price", "mean": {text}}}]}}'
    assert_refused(lambda: FeatureSpec.from_json(text), "'price'", "`mean`")


@pytest.mark.parametrize("depth", [50, 400, 900, 5000])
@pytest.mark.parametrize("key", ["num_fmb", "mlp_units", "features", "fm"])
def test_refuses_deep_nesting_with_an_error_of_its_own(key, depth):
    """Shallow enough for the JSON reader, too deep for what comes next."""
    value = 1
    for _ in range(depth):
        value = [value]
    data = {**WukongConfig(SPEC).to_dict(), key: value}
    assert_refused(lambda: model_config_from_dict(data), "model wukong")


def test_errors_of_nested_features_name_the_feature():
    data = {
        "model": "wukong",
        "features": {"numeric": [{"name": "price", "stddev": 0}]},
    }
    assert_refused(
        lambda: model_config_from_dict(data),
        "numeric feature 'price': `stddev` must be above 0; received 0",
    )
