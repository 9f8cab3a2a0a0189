"""Which tables lie in which variable, and where."""

import re

import numpy as np
import pytest

from tests.errors import assert_refused
from tests.worlds.small_models import SPEC
from wukong_tf.config import CategoricalFeature, FeatureSpec, NumericFeature
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.optimizers.groups import TABLES


def random_spec(seed):
    """Features of some widths, many of them on shared tables."""
    random = np.random.default_rng(seed)
    tables = [
        (f"table_{i}", int(random.integers(1, 50)), [None, 4, 8, 16][i % 4])
        for i in range(9)
    ]
    features = []
    for index in range(25):
        table, num_ids, width = tables[random.integers(9)]
        features.append(
            CategoricalFeature(f"f{index}", num_ids, width, table=table)
        )
    return FeatureSpec(tuple(features))


@pytest.mark.parametrize("own_widths", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_every_id_has_a_row_of_its_own(seed, own_widths):
    """Two (table, id) pairs never share a row, and no row is left over."""
    spec = random_spec(seed)
    spec = spec if own_widths else spec.one_row_each()
    by_name = {feature.name: feature for feature in spec.categorical}
    plan = plan_tables(spec, 8)
    rows = {}
    for fused in plan:
        for name, offset in zip(fused.features, fused.offsets, strict=True):
            feature = by_name[name]
            for i in range(feature.num_ids):
                place = (fused.width, offset + i)
                assert rows.setdefault(place, (feature.table, i)) == (
                    feature.table,
                    i,
                )
    assert len(rows) == len(set(rows.values()))
    assert len(rows) == sum(fused.rows for fused in plan)
    for fused in plan:
        used = sorted(row for width, row in rows if width == fused.width)
        assert used == list(range(fused.rows))


@pytest.mark.parametrize("own_widths", [False, True])
def test_every_feature_is_read_once_at_its_width(own_widths):
    spec = random_spec(0)
    plan = plan_tables(spec if own_widths else spec.one_row_each(), 8)
    widths = {name: fused.width for fused in plan for name in fused.features}
    assert sum(len(fused.features) for fused in plan) == len(spec.categorical)
    assert widths == {
        feature.name: (own_widths and feature.embedding_dim) or 8
        for feature in spec.categorical
    }
    for fused in plan:
        order = [f.name for f in spec.categorical if f.name in fused.features]
        assert list(fused.features) == order


def test_variables_are_named_by_width_and_widest_first():
    plan = plan_tables(SPEC, 6)
    assert [fused.name for fused in plan] == ["tables_6", "tables_4"]
    assert [[t.name for t in fused.tables] for fused in plan] == [
        ["user", "city"],
        ["item", "shop"],
    ]
    for fused in plan:
        assert re.search(TABLES, f"model/{fused.name}/table")


def test_tables_of_the_host_share_no_variable_with_the_others():
    plan = plan_tables(SPEC, 6, host_tables=("user", "item"))
    assert [(fused.name, [t.name for t in fused.tables]) for fused in plan] == [
        ("tables_6", ["city"]),
        ("host_tables_6", ["user"]),
        ("tables_4", ["shop"]),
        ("host_tables_4", ["item"]),
    ]
    for fused in plan:
        assert fused.host == fused.name.startswith("host_")
        assert re.search(TABLES, f"model/{fused.name}/table")


def test_a_width_of_its_own_that_is_d_is_fused_with_the_rest():
    spec = FeatureSpec(
        (CategoricalFeature("a", 3), CategoricalFeature("b", 4, 8))
    )
    (fused,) = plan_tables(spec, 8)
    assert fused.rows == 7
    assert fused.offsets == (0, 3)


def test_no_tables_without_categorical_features():
    assert plan_tables(FeatureSpec(numeric=(NumericFeature("x"),)), 8) == ()


@pytest.mark.parametrize("rows", [2**31 - 1, 2**31])
def test_more_rows_than_int32_can_name_are_refused(rows):
    spec = FeatureSpec(
        (
            CategoricalFeature("user", rows - 5),
            CategoricalFeature("last_user", rows - 5, table="user"),
            CategoricalFeature("item", 5),
            CategoricalFeature("query", 9, embedding_dim=4),
        )
    )
    if rows <= 2**31 - 1:
        assert [f.rows for f in plan_tables(spec, 8)] == [rows, 9]
        assert rows - 1 <= np.iinfo(np.int32).max
        return
    assert_refused(
        lambda: plan_tables(spec, 8),
        "tables of width 8 (user, item)",
        f"at most {2**31 - 1}",
        f"they have {rows}",
    )


def test_sharded_tables_share_no_variable_with_the_others():
    plan = plan_tables(
        SPEC, 6, host_tables=("user",), sharded_tables=("city", "item")
    )
    assert [(fused.name, [t.name for t in fused.tables]) for fused in plan] == [
        ("sharded_tables_6", ["city"]),
        ("host_tables_6", ["user"]),
        ("tables_4", ["shop"]),
        ("sharded_tables_4", ["item"]),
    ]
    for fused in plan:
        assert fused.sharded == fused.name.startswith("sharded_")
        assert re.search(TABLES, f"model/{fused.name}/table")
    assert_refused(
        lambda: plan_tables(
            SPEC, 6, host_tables=("item",), sharded_tables=("item",)
        ),
        "['item'] cannot be sharded",
    )


def test_sharded_tables_may_have_more_rows_than_int32_can_name():
    spec = FeatureSpec(
        tuple(CategoricalFeature(name, 2**30) for name in ("a", "b", "c"))
    )
    (plan,) = plan_tables(spec, 4, sharded_tables=("a", "b", "c"))
    assert plan.rows == 3 * 2**30
