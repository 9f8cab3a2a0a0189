"""Weights that go over to a model whose features and tables changed."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.worlds import small_models
from wukong_tf.config import (
    CategoricalFeature,
    DLRMConfig,
    EmbeddingGroup,
    FactorizationMachineConfig,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.errors import RunError
from wukong_tf.models import build_model
from wukong_tf.optimizers import (
    ClippedAdam,
    OptimizerGroups,
    RowwiseAdagrad,
    TableAdam,
)
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.runs import axes, warm_start
from wukong_tf.runs.arrays import model_slots, optimizer_slots, read_arrays

SIZES = {
    "embedding_dim": 4,
    "num_layers": 2,
    "num_fmb": 4,
    "num_lcb": 3,
    "rank": 2,
    "mlp_units": (5,),
    "bottom_mlp_units": (6,),
    "head_units": (7,),
}
CITY = CategoricalFeature("city", 6, raw="string", vocabulary=("a", "b", "c"))
OLD = FeatureSpec(
    (
        CITY,
        CategoricalFeature("user", 10),
        CategoricalFeature("device", 8, raw="string"),
    ),
    (NumericFeature("price"), NumericFeature("age")),
    (VectorFeature("image", 3),),
)
NEW = FeatureSpec(
    (
        CategoricalFeature("shop", 5),
        CategoricalFeature(
            "city", 8, raw="string", vocabulary=("b", "x", "a", "y", "z")
        ),
        CategoricalFeature("user", 14),
        CategoricalFeature("device", 9, raw="string"),
    ),
    (NumericFeature("age"), NumericFeature("score"), NumericFeature("price")),
    (VectorFeature("image", 3),),
)


def make_slots(config, tables=RowwiseAdagrad):
    model = build_model(config)
    groups = OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (tables(0.1), TABLES),
            "dense": (ClippedAdam(1e-3), None),
        },
    )
    groups.build()
    return model_slots(model) + optimizer_slots(model, groups)


def make_adam_slots(config):
    return make_slots(config, TableAdam)


def random_arrays(config, seed=0, make_slots=make_slots):
    random = np.random.default_rng(seed)
    return {
        slot.name: random.normal(size=slot.shape).astype(
            str(slot.variable.dtype)
        )
        for slot in make_slots(config)
    }


def carried(old, new, arrays=None, make_slots=make_slots):
    """(arrays before, after, of the other model, report)."""
    keras.utils.set_random_seed(1)
    arrays = arrays or random_arrays(old, make_slots=make_slots)
    slots = make_slots(new)
    before = read_arrays(slots)
    report = warm_start.carry_over(old, arrays, new, slots, make_slots)
    return before, read_arrays(slots), arrays, report


def test_the_same_model_is_carried_over_whole():
    config = WukongConfig(OLD, **SIZES)
    _, after, arrays, report = carried(config, config)
    assert not report.new and not report.dropped and not report.mapped
    for name, array in arrays.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)
    assert report.tables["city"] == (6, 0, 0)


@pytest.mark.parametrize(
    ("make_slots", "states"),
    [
        (make_slots, ["accumulator"]),
        (make_adam_slots, ["momentum", "velocity"]),
    ],
)
def test_rows_follow_what_their_ids_stand_for(make_slots, states):
    before, after, arrays, report = carried(
        WukongConfig(OLD, **SIZES),
        WukongConfig(NEW, **SIZES),
        make_slots=make_slots,
    )
    prefixes = [f"optimizer/tables/{state}/" for state in states]
    for prefix in ("tables/", *prefixes):
        old, start = arrays[f"{prefix}city"], before[f"{prefix}city"]
        expected = [*old[:3], old[4], start[4], old[3], *start[6:]]
        np.testing.assert_array_equal(after[f"{prefix}city"], expected)
        np.testing.assert_array_equal(
            after[f"{prefix}user"],
            np.concatenate(
                [arrays[f"{prefix}user"], before[f"{prefix}user"][10:]]
            ),
        )
        # Hashed to another number of ids, values have other ids.
        np.testing.assert_array_equal(
            after[f"{prefix}device"],
            np.concatenate(
                [arrays[f"{prefix}device"][:2], before[f"{prefix}device"][2:]]
            ),
        )
    assert report.tables == {
        "shop": (0, 5, 0),
        "city": (5, 3, 1),
        "user": (10, 4, 0),
        "device": (2, 7, 6),
    }
    lines = "\n".join(report.lines())
    assert "table city: 5 rows matched, 3 new, 1 dropped" in lines


def test_parameters_follow_the_features_of_their_rows():
    old, new = WukongConfig(OLD, **SIZES), WukongConfig(NEW, **SIZES)
    before, after, arrays, report = carried(old, new)
    place = [1, 2, 3, 4, 5]  # of the old rows of X_0 among the new
    for name in ("fmb/projection", "lcb/kernel", "residual/kernel"):
        name = f"dense/stack/layer_0/{name}"
        np.testing.assert_array_equal(after[name][place], arrays[name])
        np.testing.assert_array_equal(after[name][0], before[name][0])
        assert name in report.mapped
    name = "dense/stack/layer_0/fmb/mlp/dense_0/kernel"
    blocks = after[name].reshape(6, 2, 5)
    np.testing.assert_array_equal(blocks[place], arrays[name].reshape(5, 2, 5))
    np.testing.assert_array_equal(blocks[0], before[name].reshape(6, 2, 5)[0])
    name = "dense/feature_embedding/numeric/dense_0/kernel"
    np.testing.assert_array_equal(after[name][[0, 2]], arrays[name][[1, 0]])
    np.testing.assert_array_equal(after[name][1], before[name][1])
    for name in after:
        if "layer_1" in name or "head" in name:
            np.testing.assert_array_equal(after[name], arrays[name])
    moments = [n for n in report.mapped if n.startswith("optimizer/dense/")]
    assert len(moments) == 2 * len(
        [n for n in report.mapped if n.startswith("dense/")]
    )


def test_a_feature_in_another_s_place_does_not_get_its_parameters():
    """As many rows of X_0 as before, but not the same ones."""
    spec = dataclasses.replace(
        OLD,
        categorical=(
            OLD.categorical[1],
            OLD.categorical[0],
            CategoricalFeature("shop", 8),
        ),
    )
    old, new = WukongConfig(OLD, **SIZES), WukongConfig(spec, **SIZES)
    before, after, arrays, _ = carried(old, new)
    name = "dense/stack/layer_0/lcb/kernel"
    np.testing.assert_array_equal(after[name][[0, 1]], arrays[name][[1, 0]])
    np.testing.assert_array_equal(after[name][2], before[name][2])
    np.testing.assert_array_equal(after[name][3:], arrays[name][3:])


@pytest.mark.parametrize("fm", ["full", "attentive"])
def test_other_kinds_of_fm_are_mapped_too(fm):
    sizes = {**SIZES, "fm": fm}
    _, after, arrays, report = carried(
        WukongConfig(OLD, **sizes), WukongConfig(NEW, **sizes)
    )
    name = "dense/stack/layer_0/fmb/mlp/dense_0/kernel"
    assert name in report.mapped
    width = len(after[name]) // 6
    blocks = after[name].reshape(6, width, 5)[1:]
    if fm == "full":
        blocks = blocks[:, 1:]
    np.testing.assert_array_equal(
        blocks.reshape(-1, 5), arrays[name].reshape(-1, 5)
    )


@pytest.mark.parametrize("kind", [LogisticRegressionConfig, DLRMConfig])
def test_baselines_are_carried_over(kind):
    if kind is DLRMConfig:
        pytest.importorskip("keras_rs")
        old = DLRMConfig(OLD, embedding_dim=4, head_units=(5,))
        new = DLRMConfig(NEW, embedding_dim=4, head_units=(5,))
    else:
        old, new = kind(OLD), kind(NEW)
    _, after, arrays, report = carried(old, new)
    assert report.tables["city"][0] == 5
    np.testing.assert_array_equal(
        after["tables/user"][:10], arrays["tables/user"]
    )


@pytest.mark.parametrize("kind", [WukongConfig, FactorizationMachineConfig])
@pytest.mark.parametrize("own_width", [2, None])
def test_groups_follow_their_features(kind, own_width):
    def spec(*names):
        return FeatureSpec(
            tuple(
                CategoricalFeature(
                    name, 6, embedding_dim=own_width, embedding_group="rare"
                )
                for name in names
            )
            + (CategoricalFeature("user", 5), CategoricalFeature("item", 5)),
            embedding_groups=(EmbeddingGroup("rare", 1, (3,)),),
        )

    sizes = SIZES if kind is WukongConfig else {"embedding_dim": 4}
    old = kind(spec("a", "b"), **sizes)
    new = kind(spec("c", "b", "a"), **sizes)
    before, after, arrays, _ = carried(old, new)
    name = "dense/feature_embedding/group_rare/dense_0/kernel"
    width = arrays["tables/a"].shape[1]
    c, b, a = np.split(after[name], 3)
    np.testing.assert_array_equal(c, before[name][:width])
    np.testing.assert_array_equal(b, arrays[name][width:])
    np.testing.assert_array_equal(a, arrays[name][:width])


def test_a_grown_number_of_buckets_keeps_the_vocabulary():
    city = dataclasses.replace(CITY, num_ids=8, oov_buckets=3)
    new = dataclasses.replace(OLD, categorical=(city, *OLD.categorical[1:]))
    before, after, arrays, _ = carried(
        WukongConfig(OLD, **SIZES), WukongConfig(new, **SIZES)
    )
    found, old = after["tables/city"], arrays["tables/city"]
    np.testing.assert_array_equal(found[:2], old[:2])
    np.testing.assert_array_equal(found[2:5], before["tables/city"][2:5])
    np.testing.assert_array_equal(found[5:], old[3:])


def test_models_of_two_kinds_or_without_anything_in_common_are_refused():
    old = WukongConfig(OLD, **SIZES)
    with pytest.raises(RunError, match="logistic_regression cannot start"):
        carried(old, LogisticRegressionConfig(OLD))
    other = FeatureSpec(
        (CategoricalFeature("z", 3), CategoricalFeature("y", 3))
    )
    arrays = {"tables/city": np.zeros((6, 4), np.float32)}
    with pytest.raises(RunError, match="nothing in common"):
        carried(old, WukongConfig(other, **SIZES), arrays)


def test_the_axes_of_rows_are_found_by_building():
    config = WukongConfig(OLD, **SIZES)
    of_rows = axes.row_axes(config, make_slots)
    assert of_rows["dense/stack/layer_0/fmb/projection", 0] == 1
    assert of_rows["dense/stack/layer_0/fmb/mlp/dense_0/kernel", 0] == 2
    assert not any("layer_1" in name or "head" in name for name, _ in of_rows)
    labels = axes.row_labels(config)
    assert len(labels) == config.num_embeddings
    rich = small_models.CONFIG
    assert len(axes.row_labels(rich)) == rich.num_embeddings


@pytest.mark.parametrize("count", [0, 1, 8, 9])
def test_a_report_names_eight_arrays_and_says_that_there_are_more(count):
    names = [f"dense/{number}" for number in range(count)]
    report = warm_start.Report(new=["optimizer/x", *names])
    lines = [line for line in report.lines() if line.startswith("new: ")]
    if not count:
        assert lines == []
        return
    (line,) = lines
    assert line.endswith("...") == (count > 8)
    assert line.removesuffix("...") == f"new: {', '.join(names[:8])}"
