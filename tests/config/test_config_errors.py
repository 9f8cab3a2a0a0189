"""FeatureSpec and the model configurations: every rule, and its error."""

import dataclasses
import math

import pytest

from tests.errors import assert_refused
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    Task,
    VectorFeature,
    WukongConfig,
)

AD = CategoricalFeature("ad", 100)
SPEC = FeatureSpec(categorical=(AD,))
NOT_INTEGERS = (True, False, 1.0, "1", None, [1], float("nan"))
NOT_NUMBERS = (
    True,
    "0.5",
    None,
    [0.5],
    math.nan,
    math.inf,
    -math.inf,
    10**400,
)
NOT_NAMES = ("", "a/b", 3, None, True, ["a"], b"a")


@pytest.mark.parametrize("value", NOT_NAMES)
def test_refuses_what_is_no_name(value):
    shown = repr(value)
    assert_refused(lambda: CategoricalFeature(value, 3), "categorical", shown)
    assert_refused(lambda: NumericFeature(value), "numeric feature", shown)
    assert_refused(lambda: VectorFeature(value, 3), "vector feature", shown)
    assert_refused(lambda: Task(value), "task", shown)
    assert_refused(lambda: Task("buy", value), "task 'buy'", "label", shown)
    if value is not None:
        assert_refused(
            lambda: CategoricalFeature("ad", 3, table=value),
            "categorical feature 'ad'",
            "table",
            shown,
        )
        for field in ("weight", "group"):
            assert_refused(
                lambda field=field: dataclasses.replace(SPEC, **{field: value}),
                f"`{field}`",
                shown,
            )


@pytest.mark.parametrize("value", (*NOT_INTEGERS, 0, -1))
def test_refuses_what_is_no_size(value):
    feature = "categorical feature 'ad'"
    shown = f"received {value!r}"
    assert_refused(
        lambda: CategoricalFeature("ad", value), feature, "num_ids", shown
    )
    assert_refused(
        lambda: VectorFeature("v", value), "vector feature 'v'", shown
    )
    if value is not None:
        assert_refused(
            lambda: CategoricalFeature("ad", 3, value),
            feature,
            "embedding_dim",
            shown,
        )
    for field in ("embedding_dim", "num_layers"):
        change = {field: value}
        assert_refused(
            lambda c=change: WukongConfig(SPEC, **c), f"`{field}`", shown
        )


@pytest.mark.parametrize("value", [0, -1.0, True, None, "1", math.nan, 10**400])
def test_refuses_what_is_no_epsilon(value):
    assert_refused(
        lambda: WukongConfig(SPEC, norm_epsilon=value),
        "model wukong: `norm_epsilon`",
        f"received {value!r}",
    )


@pytest.mark.parametrize("field", ["num_fmb", "num_lcb", "rank"])
def test_refuses_what_is_no_size_of_layers(field):
    for value in (0, -1, True, 1.0, "8", None, math.nan, {"a": 1}):
        change = {field: value}
        if value is not None:  # which leaves it to the features
            assert_refused(
                lambda c=change: WukongConfig(SPEC, **c),
                "model wukong",
                f"`{field}`",
                repr(value),
            )
        change = {field: (8, value, 8)}
        assert_refused(lambda c=change: WukongConfig(SPEC, **c), f"`{field}`")
    for value in ((), (8,), (8, 8), (8, 8, 8, 8)):
        change = {field: value}
        assert_refused(
            lambda c=change: WukongConfig(SPEC, **c),
            f"`{field}` must be one value or one for each of the 3 layers",
            str(value),
        )
    nested = {field: ((8,), (8,), (8,))}
    assert_refused(lambda: WukongConfig(SPEC, **nested), f"`{field}`", "(8,)")


@pytest.mark.parametrize(
    "field", ["mlp_units", "bottom_mlp_units", "head_units"]
)
def test_refuses_what_are_no_units(field):
    for value in (8, "8", None, True, {"a": 1}, (8, 0), (8, True), (8, 1.5)):
        change = {field: value}
        if value is None and field != "bottom_mlp_units":
            continue  # which leaves it to the features
        assert_refused(
            lambda c=change: WukongConfig(SPEC, **c),
            "model wukong",
            f"`{field}`",
        )


@pytest.mark.parametrize(
    "value", [((8,), (8,)), ((8,), 8, (8,)), ((8,), (0,), (8,)), [[[8]]] * 3]
)
def test_refuses_badly_nested_units(value):
    assert_refused(lambda: WukongConfig(SPEC, mlp_units=value), "`mlp_units`")
    assert_refused(lambda: WukongConfig(SPEC, head_units=value), "`head_units`")


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_refuses_what_is_no_finite_number(value):
    for field in ("mean", "stddev"):
        change = {field: value}
        assert_refused(
            lambda c=change: NumericFeature("price", **c),
            "numeric feature 'price'",
            f"`{field}` must be a finite number",
        )
    for field in ("dropout", "embedding_dropout", "table_initial_scale"):
        change = {field: value}
        assert_refused(lambda c=change: WukongConfig(SPEC, **c), f"`{field}`")
    assert_refused(
        lambda: LogisticRegressionConfig(SPEC, value),
        "model logistic_regression",
        "`table_initial_scale`",
    )


def test_refuses_numbers_out_of_range():
    for stddev in (0, -1, -1e-9):
        assert_refused(
            lambda s=stddev: NumericFeature("price", stddev=s),
            "numeric feature 'price': `stddev` must be above 0",
            str(stddev),
        )
    for field in ("dropout", "embedding_dropout"):
        for rate in (1, 1.0, -0.1, 2):
            change = {field: rate}
            assert_refused(
                lambda c=change: WukongConfig(SPEC, **c),
                f"`{field}` must be in [0, 1); received {rate}",
            )
    for make in (WukongConfig, LogisticRegressionConfig):
        assert_refused(
            lambda m=make: m(SPEC, table_initial_scale=-1),
            "`table_initial_scale` must be at least 0",
        )


@pytest.mark.parametrize("value", ["log", "", None, True, ["log1p"], {}])
def test_refuses_an_unknown_choice(value):
    assert_refused(
        lambda: NumericFeature("price", value),
        "numeric feature 'price'",
        "`transform` must be one of ['none', 'log1p']",
        repr(value),
    )
    assert_refused(
        lambda: WukongConfig(SPEC, fm=value),
        "`fm` must be one of ['full', 'projected', 'attentive']",
        repr(value),
    )
    assert_refused(
        lambda: WukongConfig(SPEC, fmb_activation=value),
        "`fmb_activation` must be one of ['linear', 'relu']",
        repr(value),
    )
    assert_refused(
        lambda: WukongConfig(SPEC, mlp_activation=value),
        "`mlp_activation` must be one of ['relu', 'sigmoid', 'silu', 'tanh']",
        repr(value),
    )
    if value is not True:
        assert_refused(
            lambda: WukongConfig(SPEC, residual_bias=value),
            "`residual_bias` must be true or false",
            repr(value),
        )


def test_refuses_to_remove_the_linear_path_unless_asked_by_name():
    for remove in (("lcb", "residual"), ("residual", "fmb", "lcb")):
        assert_refused(
            lambda r=remove: WukongConfig(SPEC, remove=r),
            "`remove`",
            "'linear_path'",
            repr(list(remove)),
        )
    for remove in ("lcb", 3, None, True):
        assert_refused(
            lambda r=remove: WukongConfig(SPEC, remove=r),
            "`remove`",
            repr(remove),
        )
    for part in ("mlp", "", None, 3):
        assert_refused(
            lambda p=part: WukongConfig(SPEC, remove=[p]),
            "`remove`",
            repr(part),
        )
    assert WukongConfig(SPEC, remove=["linear_path"]).remove == ("linear_path",)


def test_refuses_a_rank_above_the_embeddings_that_enter_its_layer():
    def check(*args, **kwargs):
        WukongConfig(*args, **kwargs).check_ranks()

    config = {"num_layers": 2, "num_fmb": 2, "num_lcb": (1, 4)}
    check(SPEC, rank=(1, 3), **config)
    assert_refused(
        lambda: check(SPEC, rank=(2, 3), **config),
        "`rank` of layer 0 must be at most 1,",
        "received 2",
    )
    assert_refused(
        lambda: check(SPEC, rank=(1, 4), **config),
        "`rank` of layer 1 must be at most 3,",
        "received 4",
    )
    check(SPEC, rank=9, fm="full", **config)


def test_refuses_a_bad_oov_id():
    feature = "categorical feature 'ad'"
    for value in (-1, True, 1.0, "1", math.nan):
        assert_refused(
            lambda v=value: CategoricalFeature("ad", 3, oov_id=v),
            feature,
            "`oov_id`",
            repr(value),
        )
    assert_refused(
        lambda: CategoricalFeature("ad", 3, oov_id=3),
        feature,
        "below num_ids=3; received 3",
    )
    assert CategoricalFeature("ad", 3, oov_id=2).oov_id == 2


def test_refuses_a_bad_vocabulary():
    feature = "categorical feature 'ad'"

    def make(vocabulary, num_ids=5):
        return CategoricalFeature("ad", num_ids, vocabulary=vocabulary)

    for value in ("xy", 3, True, {"x": 1}, 1.5):
        assert_refused(
            lambda v=value: make(v), feature, "`vocabulary`", repr(value)
        )
    for item in (3, None, True, b"x", ["x"]):
        assert_refused(lambda i=item: make(["x", i]), feature, "hold strings")
    repeated = "must not repeat a value; received 'x' more than once"
    assert_refused(lambda: make(["x", "x"]), feature, repeated)
    assert make(["x", "y"]).vocabulary == ("x", "y")  # Exactly 2 + 3 ids.
    assert_refused(
        lambda: make(["x", "y"], 4), feature, "2 values plus 3", "=4"
    )


@pytest.mark.parametrize("field", ["categorical", "numeric", "vector", "tasks"])
def test_refuses_what_are_no_features(field):
    for value in (3, None, True, Task()):
        change = {field: value}
        assert_refused(
            lambda c=change: FeatureSpec(**c), f"`{field}` must be a sequence"
        )
    for value in ("ad", ["ad"], [None], [{"name": "ad"}], [SPEC]):
        change = {field: value}
        assert_refused(
            lambda c=change: FeatureSpec(**c), f"`{field}` must hold"
        )


def test_refuses_contradictory_columns():
    vector = VectorFeature("ad", 3)
    assert_refused(
        lambda: FeatureSpec((AD,), vector=(vector,)), "'ad' is declared twice"
    )
    assert_refused(
        lambda: FeatureSpec((AD, AD)), "feature 'ad' is declared twice"
    )
    assert_refused(lambda: FeatureSpec(), "at least one feature")
    assert_refused(lambda: FeatureSpec((AD,), tasks=()), "at least one task")
    same_name = (Task("click", "a"), Task("click", "b"))
    assert_refused(
        lambda: FeatureSpec((AD,), tasks=same_name),
        "task 'click' is declared twice",
    )
    same_label = (Task("click", "a"), Task("buy", "a"))
    assert_refused(
        lambda: FeatureSpec((AD,), tasks=same_label), "'click'", "'buy'", "'a'"
    )
    assert_refused(
        lambda: FeatureSpec((AD,), tasks=(Task("click", "ad"),)),
        "feature 'ad' is also the label of task 'click'",
    )
    for field in ("weight", "group"):
        change = {field: "label"}
        assert_refused(
            lambda c=change: FeatureSpec((AD,), **c),
            f"`{field}` column 'label' is also a label",
        )
    numbers = (NumericFeature("price"),)
    vectors = (VectorFeature("image", 4),)
    for weight in ("ad", "price", "image"):
        assert_refused(
            lambda w=weight: FeatureSpec((AD,), numbers, vectors, weight=w),
            f"`weight` column {weight!r} is also a feature",
        )
    for group in ("price", "image"):
        assert_refused(
            lambda g=group: FeatureSpec((AD,), numbers, vectors, group=g),
            f"`group` column {group!r} must hold integers",
        )
    assert FeatureSpec((AD,), group="ad").columns == ("ad", "label")


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("num_ids", CategoricalFeature("b", 99, table="ad")),
        ("embedding_dim", CategoricalFeature("b", 100, 8, table="ad")),
    ],
)
def test_refuses_a_shared_table_of_two_sizes(field, other):
    assert_refused(
        lambda: FeatureSpec((AD, other)),
        "'ad' and 'b' share table 'ad'",
        f"differ in `{field}`",
    )


@pytest.mark.parametrize("value", [None, {}, "spec", AD, [SPEC]])
def test_refuses_a_model_without_a_spec(value):
    for make in (WukongConfig, LogisticRegressionConfig):
        assert_refused(
            lambda m=make: m(value), f"model {make.model}", "`features`"
        )
