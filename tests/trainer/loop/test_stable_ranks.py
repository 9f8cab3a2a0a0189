"""Stable ranks of the first rows against singular values."""

import numpy as np
import pytest
import tensorflow as tf

from tests.worlds import small_models
from trainer.distribution.strategies import ONE, Distribution
from trainer.distribution.workers import Workers
from trainer.loop import stable_ranks
from trainer.loop.stable_ranks import StableRanks
from wukong_tf.config import (
    FeatureSpec,
    LogisticRegressionConfig,
    MLPConfig,
    Task,
)
from wukong_tf.models import build_model

ROWS = 9


def ranks_of(model):
    strategy = tf.distribute.get_strategy()
    where = Distribution(strategy, Workers(strategy), ONE, "")
    return StableRanks(where, model)


def batch(**changes):
    columns = small_models.inputs(ROWS) | changes
    columns["label"] = small_models.labels(ROWS)
    return {name: tf.constant(value) for name, value in columns.items()}


def by_svd(x):
    x = np.asarray(tf.cast(x, tf.float64)).reshape(-1, x.shape[-1])
    values = np.linalg.svd(x, compute_uv=False)
    return np.sum(values**2) / values[0] ** 2


@pytest.mark.parametrize(
    "dtype, lookup",
    [("float32", "take"), ("float32", "tfrs"), ("mixed_bfloat16", "take")],
)
@pytest.mark.parametrize("limit", [4, 1024])
def test_they_are_those_of_the_first_rows(monkeypatch, limit, dtype, lookup):
    monkeypatch.setattr(stable_ranks, "ROWS", limit)
    model = build_model(
        small_models.wukong(num_lcb=(2, 3)), dtype=dtype, lookup=lookup
    )
    ranks = ranks_of(model)
    ranks(batch())
    found = ranks.take()
    x = model.embed({n: v[:limit] for n, v in batch().items() if n != "label"})
    layers = model.layer_outputs(x)
    assert list(found) == ["embeddings", "layer_1", "layer_2"]
    # bfloat16 rounds in a graph at other places than outside.
    close = 1e-5 if dtype == "float32" else 1e-2
    for rank, y in zip(found.values(), (x, *layers), strict=True):
        assert rank == pytest.approx(by_svd(y), rel=close)
    assert ranks.take() == {}  # once


def test_a_model_without_layers_has_its_embeddings_alone():
    ranks = ranks_of(build_model(MLPConfig(small_models.SPEC)))
    ranks(batch())
    assert list(ranks.take()) == ["embeddings"]


@pytest.mark.parametrize("tasks, count", [(("a",), 0), (("a", "b"), 1)])
def test_embeddings_of_one_number_have_none(tasks, count):
    tasks = tuple(Task(name, f"{name}_label") for name in tasks)
    spec = FeatureSpec(small_models.SPEC.categorical, tasks=tasks)
    ranks = ranks_of(build_model(LogisticRegressionConfig(spec)))
    ranks(batch())
    assert len(ranks.take()) == count


def test_zeros_have_an_undefined_rank():
    model = build_model(small_models.CONFIG)
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    ranks = ranks_of(model)
    ranks(batch())
    found = ranks.take()
    assert len(found) == 3 and all(map(np.isnan, found.values()))
