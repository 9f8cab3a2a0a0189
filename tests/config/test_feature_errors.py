"""Units, bags, groups and tasks: every rule, and its error."""

import dataclasses
import math

from tests.errors import assert_refused
from wukong_tf.config import (
    CategoricalFeature,
    EmbeddingGroup,
    FeatureSpec,
    NumericFeature,
    TableSettings,
    Task,
    VectorFeature,
    WukongConfig,
)

AD = CategoricalFeature("ad", 100)


def test_refuses_units_that_cannot_be():
    feature = "categorical feature 'ad'"

    def make(**kwargs):
        return CategoricalFeature("ad", 9, **kwargs)

    for value in (0, True, 1.0, "1", None):
        assert_refused(
            lambda v=value: make(units=v), feature, "`units`", repr(value)
        )
    assert_refused(lambda: make(units=2, embedding_dim=8), "embedding_dim=8")
    assert_refused(
        lambda: make(units=2, embedding_group="g"), "embedding_group='g'"
    )
    for value in (-0.1, 1, math.nan, "1", True):
        assert_refused(
            lambda v=value: make(units=2, unit_dropout=v),
            feature,
            "`unit_dropout`",
            repr(value),
        )
    assert_refused(lambda: make(unit_dropout=0.5), "more than one unit")
    assert_refused(lambda: make(units=3, keep_units=4), "units=3", "received 4")
    for value in (0, True, 1.0):
        assert_refused(
            lambda v=value: make(units=3, keep_units=v), "`keep_units`"
        )
    assert make(units=3).kept_units == 3
    assert make(units=3, keep_units=1).kept_units == 1


def test_refuses_bags_that_cannot_be():
    feature = "categorical feature 'ad'"

    def make(**kwargs):
        return CategoricalFeature("ad", 9, **kwargs)

    for value in ("max", "", 3, True):
        assert_refused(
            lambda v=value: make(pooling=v, max_ids=3),
            feature,
            "`pooling`",
            repr(value),
        )
    assert_refused(lambda: make(pooling="sum"), feature, "`max_ids`", "None")
    assert_refused(lambda: make(max_ids=3), "`max_ids`", "pooling=None")
    assert_refused(lambda: make(weights="w"), "`weights`", "pooling=None")
    for value in (0, True, 1.0, "1"):
        assert_refused(
            lambda v=value: make(pooling="sum", max_ids=v), "`max_ids`"
        )
    assert_refused(
        lambda: make(pooling="sum", max_ids=2, oov_id=0), "`oov_id`", "pads"
    )
    bag = make(pooling="sum", max_ids=2, weights="w")
    spec = FeatureSpec((bag,), (NumericFeature("x"),))
    assert spec.feature_names == ("ad", "w", "x")
    numbers = (NumericFeature("w"),)
    assert_refused(lambda: FeatureSpec((bag,), numbers), "'w'", "a feature")
    for change in ({"weight": "w"}, {"tasks": (Task("click", "w"),)}):
        assert_refused(lambda c=change: FeatureSpec((bag,), **c), "'w'")
    for group in ("ad", "w"):
        assert_refused(
            lambda g=group: FeatureSpec((bag,), group=g),
            f"`group` column {group!r}",
        )


def test_refuses_embedding_groups_that_do_not_match_the_features():
    member = dataclasses.replace(AD, embedding_group="rare")
    rare = EmbeddingGroup("rare")
    assert_refused(
        lambda: FeatureSpec((member,)), "'ad'", "`embedding_group`", "'rare'"
    )
    assert_refused(
        lambda: FeatureSpec((AD,), embedding_groups=(rare,)),
        "embedding group 'rare' has no features",
    )
    assert_refused(
        lambda: FeatureSpec((member,), embedding_groups=(rare, rare)),
        "embedding group 'rare' is declared twice",
    )
    for value in (0, True, 1.5):
        assert_refused(
            lambda v=value: EmbeddingGroup("rare", v),
            "embedding group 'rare'",
            "`num_embeddings`",
        )
    for value in (8, [0], None):
        assert_refused(
            lambda v=value: EmbeddingGroup("rare", 1, v), "`mlp_units`"
        )


def test_num_embeddings_counts_the_rows_of_x_0():
    spec = FeatureSpec(
        (
            CategoricalFeature("a", 9, units=3, keep_units=1),
            CategoricalFeature("b", 9, embedding_group="rare"),
            CategoricalFeature("c", 9, embedding_group="rare"),
            CategoricalFeature("d", 9, pooling="mean", max_ids=5),
        ),
        (NumericFeature("x"), NumericFeature("y")),
        (VectorFeature("v", 3, 2), VectorFeature("w", 3)),
        embedding_groups=(EmbeddingGroup("rare", 2),),
    )
    config = WukongConfig(spec, numeric_embeddings=4)
    assert config.num_embeddings == 3 + 1 + 2 + 4 + (2 + 1)


def test_refuses_tasks_that_cannot_be():
    for value in (0, -1, math.nan, "1", True):
        assert_refused(
            lambda v=value: Task(loss_weight=v), "`loss_weight`", repr(value)
        )
    for value in (0, -0.5, 1.5, math.nan, "1", True):
        assert_refused(
            lambda v=value: Task(negative_rate=v),
            "`negative_rate`",
            repr(value),
        )
    for value in (0, 1, "yes", None):
        assert_refused(
            lambda v=value: Task(missing_labels=v),
            "`missing_labels`",
            repr(value),
        )


def test_refuses_to_cut_what_cannot_be_cut():
    user = CategoricalFeature("user", 9, units=4)
    friends = CategoricalFeature(
        "friends", 9, table="user", units=4, pooling="sum", max_ids=3
    )
    spec = FeatureSpec((user, friends, AD))
    assert [f.keep_units for f in spec.cut(2).categorical] == [2, 2, None]
    assert [f.kept_units for f in spec.cut(9).categorical] == [4, 4, 1]
    both = spec.cut({"user": 3, "friends": 3})
    assert [f.kept_units for f in both.categorical] == [3, 3, 1]
    for keep in (0, True, 1.5, "2"):
        assert_refused(lambda k=keep: spec.cut(k), "`keep_units`")
    assert_refused(
        lambda: spec.cut({"ad": 1}), "['friends', 'user']", "received 'ad'"
    )
    assert_refused(lambda: spec.cut({"user": 5}), "units=4", "received 5")
    assert_refused(
        lambda: spec.cut({"user": 2}), "'friends'", "`keep_units`", "2 and None"
    )


def test_bags_that_share_weights_have_one_length():
    bag = CategoricalFeature("a", 5, pooling="sum", max_ids=3, weights="w")
    other = dataclasses.replace(bag, name="b", pooling="mean")
    assert FeatureSpec((bag, other)).feature_names == ("a", "w", "b")
    assert_refused(
        lambda: FeatureSpec((bag, dataclasses.replace(other, max_ids=4))),
        "'a' and 'b'",
        "'w'",
        "3 and 4",
    )


def test_refuses_settings_of_tables_that_are_not_there_or_break_a_rule():
    assert_refused(
        lambda: FeatureSpec((AD,), tables=(TableSettings("add"),)),
        "`tables`",
        "['ad']",
        "received 'add'",
    )
    twice = (TableSettings("ad"), TableSettings("ad", 1.0))
    assert_refused(
        lambda: FeatureSpec((AD,), tables=twice), "'ad' is declared twice"
    )
    for field, value, rule in (
        ("initial_scale", -1.0, "at least 0"),
        ("learning_rate", 0.0, "above 0"),
        ("l2", float("nan"), "finite"),
    ):
        assert_refused(
            lambda f=field, v=value: TableSettings("ad", **{f: v}),
            "table 'ad'",
            f"`{field}`",
            rule,
        )


def test_refuses_raw_values_that_break_a_rule():
    for options, words in (
        ({"raw": "text"}, ["`raw`", "string", "'text'"]),
        ({"encoded": True}, ["`encoded` requires `raw`"]),
        ({"boundaries": (1.0,)}, ["`boundaries` requires `raw`"]),
        ({"raw": "float"}, ["`boundaries` are required with raw='float'"]),
        (
            {"raw": "string", "boundaries": (1.0,)},
            ["be None otherwise", "'string'"],
        ),
        ({"raw": "string", "oov_id": 2}, ["`oov_id` must be None with `raw`"]),
        ({"raw": "string", "oov_buckets": 0}, ["`oov_buckets`", "0"]),
        ({"raw": "int64", "missing_value": 0.5}, ["`missing_value`", "0.5"]),
        (
            {"raw": "float", "boundaries": (2.0, 1.0)},
            ["strictly ascending"],
        ),
        ({"raw": "float", "boundaries": 3.0}, ["`boundaries`", "3.0"]),
        (
            {"raw": "float", "boundaries": (-1e-45, 0.0)},
            ["`boundaries` must be 0 or at least", "-1e-45"],
        ),
        (
            {"raw": "float", "boundaries": (1.0, math.inf)},
            ["`boundaries`", "finite"],
        ),
        (
            {"raw": "float", "boundaries": tuple(range(7))},
            ["`num_ids` must be at least 11", "received 10"],
        ),
        ({"derived": 3}, ["`derived` must be a string", "received 3"]),
        (
            {"vocabulary": tuple("abcdefg"), "oov_buckets": 2},
            ["7 values plus 4 reserved", "num_ids=10"],
        ),
        (
            {
                "raw": "float",
                "boundaries": (1.0,),
                "pooling": "sum",
                "max_ids": 2,
            },
            ["neither `vocabulary` nor `pooling`"],
        ),
    ):
        assert_refused(
            lambda o=options: CategoricalFeature("ad", 10, **o),
            "categorical feature 'ad'",
            *words,
        )
    assert_refused(lambda: CategoricalFeature("ad", 2, raw="string"), "above 2")


def test_refuses_raw_features_that_disagree_on_a_table():
    one = CategoricalFeature("ad", 10, raw="string", vocabulary=("a",))
    for field, value in (
        ("raw", "int64"),
        ("oov_buckets", 3),
        ("vocabulary", ("b",)),
    ):
        options = {"raw": "string", field: value}
        other = CategoricalFeature("last", 10, table="ad", **options)
        word = "vocabularies" if field == "vocabulary" else f"`{field}`"
        assert_refused(
            lambda o=other: FeatureSpec((one, o)), "'ad'", "'last'", word
        )
    other = CategoricalFeature("last", 10, table="ad", raw="string")
    assert FeatureSpec((one, other)).vocabulary("ad") == ("a",)


def test_refuses_numbers_whose_clipping_cannot_be():
    for options, words in (
        ({"clip_min": 1.0, "clip_max": 1.0}, ["`clip_min` must be below"]),
        ({"clip_min": math.nan}, ["`clip_min`", "finite"]),
        ({"clip_max": "1"}, ["`clip_max`", "'1'"]),
        ({"missing": math.inf}, ["`missing`", "finite"]),
    ):
        assert_refused(
            lambda o=options: NumericFeature("x", **o),
            "numeric feature 'x'",
            *words,
        )
