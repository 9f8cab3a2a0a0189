"""FeatureSpec and the model configurations: JSON both ways, defaults."""

import copy
import dataclasses
import json
import random
from typing import Any

import pytest

from tests.docstrings import documented_defaults
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    TableSettings,
    Task,
    VectorFeature,
    WukongConfig,
    model_config_from_dict,
)
from wukong_tf.errors import ConfigError, WukongError

AD = CategoricalFeature("ad", 100)
SPEC = FeatureSpec(categorical=(AD,))


def random_feature(draw, name):
    """A valid categorical feature, drawn from `draw`."""
    num_ids = draw.randint(8, 1000)
    words = ("a", "b", "é", "\u0000", '"', " ")
    pooling = draw.choice([None, "sum", "mean", "sqrtn"])
    bag = {}
    if pooling:
        weights = draw.choice([None, f"{name}_weights"])
        bag = {"max_ids": draw.randint(1, 9), "weights": weights}
    raw = draw.choice([None, None, "string", "int64", "float"])
    if raw == "float":
        bag = {}
    group = draw.choice([None, None, "rare", "common"])
    units = 1 if group else draw.randint(1, 4)
    return CategoricalFeature(
        name,
        num_ids,
        embedding_dim=draw.choice([None, 8]) if units == 1 else None,
        table=draw.choice([None, f"table_{name}"]),
        oov_id=None if raw else draw.choice([None, 1, num_ids - 1]),
        vocabulary=None
        if raw == "float"
        else draw.choice([None, (), tuple(draw.sample(words, k=3))]),
        units=units,
        unit_dropout=draw.choice([0, 0.5]) if units > 1 else 0.0,
        keep_units=draw.choice([None, 1, units]),
        pooling=pooling if bag else None,
        embedding_group=group,
        raw=raw,
        encoded=bool(raw) and draw.choice([False, True]),
        oov_buckets=draw.choice([1, 2]),
        missing_value=draw.choice([-1, 0]),
        boundaries=[-1.5, 0, 2] if raw == "float" else None,
        derived=draw.choice([None, "hour of 'time' in UTC"]),
        **bag,
    )


def random_spec(seed):
    """A valid spec that uses every field, drawn from `seed`."""
    draw = random.Random(seed)
    categorical = [
        random_feature(draw, f"c{index}") for index in range(draw.randint(0, 4))
    ]
    if categorical and draw.random() < 0.5:  # One that shares a table.
        first = categorical[0]
        categorical.append(
            CategoricalFeature(
                "shared",
                first.num_ids,
                first.embedding_dim,
                first.table_name,
                units=first.units,
                keep_units=first.keep_units,
                raw=first.raw,
                oov_buckets=first.oov_buckets,
                boundaries=first.boundaries,
            )
        )
    numeric = [
        NumericFeature(
            f"n{index}",
            draw.choice(["none", "log1p"]),
            draw.choice([0, 0.0, -1.5, draw.random()]),
            draw.choice([1, 1.0, 1e-30, draw.random() + 0.1]),
            draw.choice([None, -2, -0.5]),
            draw.choice([None, 3.0]),
            draw.choice([None, 0, 1.5]),
            draw.choice([None, "age_in_days of 'time' in UTC"]),
        )
        for index in range(draw.randint(0, 3))
    ]
    tasks = [
        Task(
            name,
            f"label_{name}",
            draw.choice([1, 0.5]),
            draw.choice([False, True]),
            draw.choice([1, 1.0, 0.01]),
        )
        for name in draw.sample(["click", "buy"], k=draw.randint(1, 2))
    ]
    groups = {f.embedding_group for f in categorical} - {None}
    return FeatureSpec(
        categorical,
        numeric,
        [VectorFeature("v", draw.randint(1, 64), draw.randint(1, 3))],
        tasks,
        draw.choice([None, "weight", "importance"]),
        draw.choice([None, "user"]),
        [
            EmbeddingGroup(name, draw.randint(1, 3), draw.choice([(64,), []]))
            for name in sorted(groups)
        ],
        [
            TableSettings(
                name,
                draw.choice([None, 0, 0.5]),
                draw.choice([None, 0.1]),
                draw.choice([None, 0.0, 1e-6]),
            )
            for name in sorted({f.table_name for f in categorical})
            if draw.random() < 0.5
        ],
    )


CONFIGS: dict[str, Any] = {
    "defaults": WukongConfig(SPEC),
    "one_a_layer": WukongConfig(
        SPEC,
        num_layers=2,
        num_fmb=(4, 2),
        num_lcb=(4, 2),
        rank=(3, 1),
        mlp_units=((8, 8), ()),
    ),
    "every_field": WukongConfig(
        SPEC,
        embedding_dim=4,
        num_layers=1,
        num_fmb=2,
        num_lcb=3,
        rank=1,
        mlp_units=(8, 4),
        fm="full",
        bottom_mlp_units=(),
        numeric_embeddings=2,
        head_units=(16, 8),
        attention_embeddings=3,
        attention_units=(),
        remove=("fmb", "residual"),
        fmb_activation="relu",
        residual_bias=True,
        mlp_activation="silu",
        mlp_bias=False,
        mlp_glu=True,
        norm_epsilon=0.5,
        dropout=0.1,
        embedding_dropout=0.2,
        table_initial_scale=0,
    ),
    "logistic_regression": LogisticRegressionConfig(SPEC, 0.5),
}


@pytest.mark.parametrize("seed", range(40))
def test_a_spec_comes_back_from_dicts_and_json(seed):
    spec = random_spec(seed)
    assert FeatureSpec.from_dict(spec.to_dict()) == spec
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert json.loads(spec.to_json()) == spec.to_dict()
    again = FeatureSpec.from_json(spec.to_json())
    assert again.to_json() == spec.to_json()
    assert hash(again) == hash(spec)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_configuration_comes_back(name, seed):
    config = dataclasses.replace(CONFIGS[name], features=random_spec(seed))
    data = config.to_dict()
    text = json.dumps(data, allow_nan=False)
    assert type(config).from_dict(data) == config
    again = model_config_from_dict(json.loads(text))
    assert again == config
    assert type(again) is type(config)
    assert json.dumps(again.to_dict()) == text
    assert hash(again) == hash(config)


def test_a_configuration_from_before_a_field_means_what_it_did():
    data = WukongConfig(SPEC).to_dict()
    fields = ("fmb_activation", "residual_bias", "mlp_activation", "mlp_glu")
    for field in (*fields, "mlp_bias", "norm_epsilon"):
        del data[field]
    before = WukongConfig(SPEC, norm_epsilon=1e-5)
    assert model_config_from_dict(data) == before != WukongConfig(SPEC)


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"num_fmb": (8, 8, 8), "rank": 8, "dropout": 0.3}, []),
        ({"attention_units": (7,), "table_initial_scale": 0.1}, []),
        (
            {"num_lcb": (8, 8, 9), "norm_epsilon": 2.0},
            ["num_lcb", "norm_epsilon"],
        ),
        ({"num_layers": 2, "fm": "full"}, ["num_layers", "fm"]),
    ],
)
def test_differences_are_those_that_change_scores(changes, names):
    config = WukongConfig(SPEC, num_fmb=8, num_lcb=8, rank=8)
    other = dataclasses.replace(config, **changes)
    assert config.differences(other) == other.differences(config) == names


def test_the_cases_of_this_file_use_every_field():
    """Otherwise a field that is lost on the way would go unseen."""
    specs = [random_spec(seed) for seed in range(40)]
    features = [
        f for s in specs for f in (*s.categorical, *s.numeric, *s.vector)
    ]
    groups = [group for spec in specs for group in spec.embedding_groups]
    tasks = [task for spec in specs for task in spec.tasks]
    tables = [table for spec in specs for table in spec.tables]
    for cls, values in (
        (CategoricalFeature, features),
        (NumericFeature, features),
        (VectorFeature, features),
        (EmbeddingGroup, groups),
        (Task, tasks),
        (TableSettings, tables),
        (FeatureSpec, specs),
        (WukongConfig, CONFIGS.values()),
        (LogisticRegressionConfig, CONFIGS.values()),
    ):
        own = [value for value in values if type(value) is cls]
        for field in dataclasses.fields(cls):
            found = [getattr(value, field.name) for value in own]
            assert any(value != field.default for value in found), field


def test_reading_leaves_the_given_data_as_it_was():
    data = CONFIGS["one_a_layer"].to_dict()
    before = copy.deepcopy(data)
    model_config_from_dict(data)
    assert data == before


def test_a_spec_writes_no_defaults_and_a_model_writes_them_all():
    assert SPEC.to_dict() == {"categorical": [{"name": "ad", "num_ids": 100}]}
    written = set(WukongConfig(SPEC).to_dict())
    fields = {field.name for field in dataclasses.fields(WukongConfig)}
    assert written == fields | {"model"}


@pytest.mark.parametrize(
    "cls",
    [
        WukongConfig,
        LogisticRegressionConfig,
        CategoricalFeature,
        NumericFeature,
        VectorFeature,
        EmbeddingGroup,
        Task,
        FeatureSpec,
    ],
)
def test_the_docstring_gives_every_default(cls):
    expected = {
        field.name: field.default
        for field in dataclasses.fields(cls)
        if field.default is not dataclasses.MISSING
        and field.default != (Task(),)
    }
    # A subclass describes its own fields alone.
    documented: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            documented |= documented_defaults(base)
    assert documented == expected


def test_configurations_are_frozen_and_hold_no_list():
    for value in (AD, SPEC, *CONFIGS.values()):
        field = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field, None)
    config = WukongConfig(SPEC, num_layers=2, rank=[3, 1], mlp_units=[[8], []])
    assert (config.rank, config.mlp_units) == ((3, 1), ((8,), ()))
    assert FeatureSpec([AD]).categorical == (AD,)
    words = ["x", "y"]
    feature = CategoricalFeature("a", 5, vocabulary=words)
    words.append("z")
    assert feature.vocabulary == ("x", "y")
    assert isinstance(hash(feature), int)


def test_names_and_columns():
    spec = FeatureSpec(
        (AD, CategoricalFeature("ad2", 100, table="ad")),
        (NumericFeature("price"),),
        (VectorFeature("image", 4),),
        (Task("buy", "bought"),),
        weight="importance",
        group="user",
    )
    assert spec.feature_names == ("ad", "ad2", "price", "image")
    assert spec.columns == (*spec.feature_names, "bought", "importance", "user")
    assert [f.table_name for f in spec.categorical] == ["ad", "ad"]


def test_errors_are_the_librarys_and_value_errors():
    assert issubclass(ConfigError, WukongError)
    assert issubclass(ConfigError, ValueError)
