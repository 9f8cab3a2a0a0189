"""Names of all kinds, their identifiers, and weights that follow them."""

import dataclasses
import keyword
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runs.test_warm_start import SIZES, make_slots
from tests.worlds import small_models
from wukong_tf import names
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FactorizationMachineConfig,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.embeddings import feature_embedding
from wukong_tf.errors import ConfigError
from wukong_tf.models import build_model, embedding_model
from wukong_tf.runs.arrays import assign_slots, model_slots, read_arrays
from wukong_tf.runs.warm_start import carry_over

# Pairs that one careless rule or another takes for the same name.
NAMES = (
    "价格", "城市", "user id", "user_id", "User_ID", "é", "e\u0301", "🚀", "🛸",
    "numeric", "group_x", "x", "a:raw", "..", "1st", "it's", 'a "b"', "a\nb",
    "class", "self", "probability", "$x^$", "n" * 300, "价" * 120, "a>b",
    "feature_embedding_numeric", "x_dense_0", "projection_x", "_more_0",
)  # fmt: skip
ANY_NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
COLUMN_NAME = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"),
    min_size=1,
)
PLAIN = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True)


@given(st.lists(ANY_NAME | PLAIN | st.sampled_from(NAMES), unique=True))
def test_identifiers_of_names_do_not_collide(some):
    assert len({names.identifier(name) for name in some}) == len(some)
    assert len({names.file_name(name).lower() for name in some}) == len(some)
    made = names.arguments(some).values()
    assert len({each.lower() for each in made}) == len(some)


@given(ANY_NAME | PLAIN)
def test_identifiers_fit_what_they_are_for(name):
    # What TensorFlow takes as a part of a scope, but for "/" and "\\".
    assert re.fullmatch(r"[A-Za-z0-9_.>-]+", names.identifier(name))
    assert re.fullmatch(r"[a-z0-9_.~-]{1,100}", names.file_name(name))
    assert not names.file_name(name).startswith(".")
    (argument,) = names.arguments([name]).values()
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", argument)
    assert not keyword.iskeyword(argument)


@given(PLAIN)
def test_a_plain_name_is_its_own_identifier(name):
    assert names.identifier(name) == name
    assert names.without_digests(f"head_{name}/kernel") == f"head_{name}/kernel"


def test_an_argument_that_needs_no_other_name_has_its_own():
    found = names.arguments(["C1", "user", "User", "x", "class", "self"])
    assert [name for name in found if found[name] == name] == ["C1", "x"]


def test_listed_names_are_those_that_are_not_their_own_identifier():
    listed = names.listed(["user_id", "价格", "user id"])
    assert list(listed) == ["价格", "user id"]
    assert listed["user id"] == names.identifier("user id")


def rich_spec(some, order=None):
    """Every part of a spec under some of the names, in some order."""
    some, order = [*some], order or random.Random(0)
    order.shuffle(some)
    parts = iter(some[i::8] for i in range(8))
    wide, narrow, grouped, numbers, vectors, groups, tasks, tables = parts
    groups = groups[:2]
    categorical = [CategoricalFeature(name, 5) for name in wide]
    categorical += [
        CategoricalFeature(name, 4, embedding_dim=2, table=table)
        for name, table in zip(narrow, tables, strict=False)
    ]
    categorical += [
        CategoricalFeature(
            name, 3, embedding_dim=2, embedding_group=groups[i % 2]
        )
        for i, name in enumerate(grouped)
    ]
    return FeatureSpec(
        tuple(categorical),
        tuple(NumericFeature(name) for name in numbers),
        tuple(VectorFeature(name, 2) for name in vectors),
        # A task may have the name of a feature.
        tuple(
            Task(name, label=f"label of {name}") for name in (*tasks, wide[0])
        ),
        embedding_groups=tuple(EmbeddingGroup(g, 1, (3,)) for g in groups),
    )


def shuffled(spec, order):
    """The same spec with every part in another order."""

    def turned(part):
        part = [*part]
        order.shuffle(part)
        return tuple(part)

    fields = ("categorical", "numeric", "vector", "tasks", "embedding_groups")
    return dataclasses.replace(
        spec, **{field: turned(getattr(spec, field)) for field in fields}
    )


def scores(model, seed=0):
    """Logits by task, of inputs that do not depend on the order."""
    spec = model.config.features
    alike = dataclasses.replace(
        spec,
        **{
            field: tuple(sorted(getattr(spec, field), key=lambda f: f.name))
            for field in ("categorical", "numeric", "vector")
        },
    )
    inputs = small_models.inputs(6, seed, alike)
    return {t: small_models.numpy(v) for t, v in model(inputs).items()}


def assert_same_scores(one, other):
    mine, theirs = scores(one), scores(other)
    assert mine.keys() == theirs.keys()
    for task, logits in mine.items():
        np.testing.assert_allclose(
            theirs[task], logits, rtol=1e-4, atol=1e-4, err_msg=task
        )
    columns = [tuple(np.round(v[:, 0], 3)) for v in mine.values()]
    assert len(set(columns)) == len(columns)  # or tasks could be swapped


def config_of(kind, spec):
    return kind(spec, **(SIZES if kind is WukongConfig else {}))


KINDS = pytest.mark.parametrize(
    "kind", [WukongConfig, LogisticRegressionConfig, FactorizationMachineConfig]
)


@KINDS
def test_a_warm_start_follows_names_in_any_order(kind):
    spec = rich_spec(NAMES)
    old = small_models.make(config_of(kind, spec))
    arrays = read_arrays(model_slots(old))
    new = config_of(kind, shuffled(spec, random.Random(1)))
    model = build_model(new)
    report = carry_over(
        old.config,
        arrays,
        new,
        model_slots(model),
        lambda config: model_slots(build_model(config)),
    )
    assert not report.new and not report.dropped
    assert_same_scores(old, model)


@pytest.mark.full
@settings(max_examples=40, deadline=None)
@given(
    st.lists(COLUMN_NAME, min_size=16, max_size=24, unique=True),
    st.randoms(),
)
def test_a_warm_start_follows_any_names_in_any_order(some, order):
    spec = rich_spec(some, order)
    old = small_models.make(WukongConfig(spec, **SIZES))
    new = WukongConfig(shuffled(spec, order), **SIZES)
    model = build_model(new)
    carry_over(
        old.config,
        read_arrays(model_slots(old)),
        new,
        model_slots(model),
        lambda config: model_slots(build_model(config)),
    )
    assert_same_scores(old, model)


def test_optimizer_state_follows_names_too():
    spec = FeatureSpec(
        (CategoricalFeature("价格", 5, embedding_dim=2),)
        + (CategoricalFeature("城市", 5, embedding_dim=2),),
        tasks=(Task("点击", "a"), Task("购买", "b")),
    )
    slots = [make_slots(WukongConfig(s, **SIZES)) for s in (
        spec, shuffled(spec, random.Random(3)),
    )]  # fmt: skip
    assert {s.name for s in slots[0]} == {s.name for s in slots[1]}
    assert len({s.name for s in slots[0]}) == len(slots[0])
    for name in ("价格", "城市"):
        path = f"feature_embedding_projection_{names.identifier(name)}_kernel"
        stem = f"optimizer/dense/wukong_{path}_momentum"
        assert stem in {slot.name for slot in slots[0]}


def test_a_model_of_more_tasks_keeps_the_columns_of_the_old():
    def spec(*tasks):
        return FeatureSpec(
            (CategoricalFeature("a", 4), CategoricalFeature("b", 3)),
            (NumericFeature("n"),),
            tasks=tuple(Task(t, label=f"l_{t}") for t in tasks),
        )

    old = small_models.make(LogisticRegressionConfig(spec("买", "看")))
    new = LogisticRegressionConfig(spec("新", "看", "买"))
    model = build_model(new)
    before = scores(model)["新"]
    carry_over(
        old.config,
        read_arrays(model_slots(old)),
        new,
        model_slots(model),
        lambda config: model_slots(build_model(config)),
    )
    after, expected = scores(model), scores(old)
    for task in ("买", "看"):
        np.testing.assert_allclose(after[task], expected[task], atol=1e-5)
    np.testing.assert_allclose(after["新"], before, atol=1e-5)


def of_before(name):
    """How earlier versions named layers."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


@pytest.fixture
def old_run(monkeypatch):
    """A model, and its arrays as earlier versions named them."""
    # All but two become "__", which is one of them.
    some = [x + y for x in "甲_" for y in "一二三四五六七八九十百千"]
    spec = rich_spec(["__", *some, "a b", "a_b"])
    with monkeypatch.context() as patch:
        for module in (feature_embedding, embedding_model):
            patch.setattr(module, "identifier", of_before)
        model = small_models.make(WukongConfig(spec, **SIZES))
        arrays = read_arrays(model_slots(model))
    assert sum(":1" in name for name in arrays) > 3  # names that became one
    return model, arrays


def test_checkpoints_of_earlier_versions_load(old_run):
    model, arrays = old_run
    other = build_model(model.config)
    assign_slots(model_slots(other), arrays)
    assert_same_scores(model, other)


def test_a_warm_start_from_an_earlier_version_follows_names(old_run):
    model, arrays = old_run
    new = WukongConfig(
        shuffled(model.config.features, random.Random(2)), **SIZES
    )
    other = build_model(new)
    report = carry_over(
        model.config,
        arrays,
        new,
        model_slots(other),
        lambda config: model_slots(build_model(config)),
    )
    assert not report.new and not report.dropped
    assert_same_scores(model, other)


@pytest.mark.parametrize("name", ["", "a/b", "a\0b", "\ud800", 7, None])
@pytest.mark.parametrize(
    "make",
    [
        lambda name: CategoricalFeature(name, 3),
        NumericFeature,
        lambda name: VectorFeature(name, 3),
        EmbeddingGroup,
        Task,
        lambda name: Task(label=name),
    ],
)
def test_what_is_no_name_is_refused_with_the_rule(make, name):
    with pytest.raises(ConfigError, match="without '/' and NUL") as error:
        make(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize("name", ["epoch", "kind", "step", "windows"])
def test_a_task_must_not_be_called_as_other_values_of_a_record(name):
    with pytest.raises(ConfigError, match="metrics.jsonl") as error:
        Task(name)
    assert repr(name) in str(error.value)


def test_the_only_input_must_not_be_called_as_base64_is():
    with pytest.raises(ConfigError, match="base64"):
        FeatureSpec((CategoricalFeature("b64", 3),))
    FeatureSpec((CategoricalFeature("b64", 3), CategoricalFeature("a", 3)))
