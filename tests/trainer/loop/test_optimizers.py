"""Baselines of first order learn what their equations can: no straw men."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests import tiers
from tests.oracles import fm_training
from tests.trainer import cli
from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.optimizers import make_optimizers
from trainer.loop.rates import dense_rate, table_rate
from trainer.loop.steps import make_train_step
from trainer.settings import Settings
from wukong_tf.config import (
    CategoricalFeature,
    FactorizationMachineConfig,
    FeatureSpec,
    LogisticRegressionConfig,
    NumericFeature,
    VectorFeature,
    WukongConfig,
)
from wukong_tf.models import build_model

LOGS = {  # rows, ids of each category, numbers, scale of the weights
    "two_columns": (5000, (20, 50), 3, 0.8),
    "mostly_numbers": (3000, (10,), 5, 0.6),
    "many_ids": (8000, (100, 30, 5), 2, 0.7),
}


def write_log(folder, rows, sizes, numbers, scale):
    """A log whose logit is linear, with far-off raw numbers, by split."""
    random = np.random.default_rng(rows)
    weights = [random.normal(0, scale, size) for size in sizes]
    slopes = random.normal(0, 0.6, numbers)
    frames = {}
    for split, count in (("train", rows), ("valid", 1000), ("test", 3000)):
        ids = [
            np.minimum(
                random.exponential(size / 4, count).astype(int), size - 1
            )
            for size in sizes
        ]
        x = random.normal(size=(count, numbers))
        logit = -1 + x @ slopes + sum(map(np.take, weights, ids))
        frame = pd.DataFrame({f"id_{i}": each for i, each in enumerate(ids)})
        for index in range(numbers):
            frame[f"x_{index}"] = 100 * index + 7 * x[:, index]
        chance = 1 / (1 + np.exp(-logit))
        frame["label"] = (random.random(count) < chance).astype(int)
        frame.to_parquet(folder / f"{split}.parquet")
        frames[split] = frame
    train = frames["train"]
    spec = FeatureSpec(
        tuple(CategoricalFeature(f"id_{i}", n) for i, n in enumerate(sizes)),
        tuple(
            NumericFeature(
                name, mean=train[name].mean(), stddev=train[name].std()
            )
            for name in (f"x_{index}" for index in range(numbers))
        ),
    )
    (folder / "features.json").write_text(spec.to_json())
    return frames


def scikit_learn(frames):
    """AUC and LogLoss on the test rows, of the same features."""
    ids = [name for name in frames["train"] if name.startswith("id_")]
    numbers = [name for name in frames["train"] if name.startswith("x_")]
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    one_hot.fit(frames["train"][ids])
    scaler = StandardScaler().fit(frames["train"][numbers])

    def features(frame):
        parts = [
            one_hot.transform(frame[ids]),
            scaler.transform(frame[numbers]),
        ]
        return np.concatenate(parts, 1)

    model = LogisticRegression(max_iter=1000)
    model.fit(features(frames["train"]), frames["train"]["label"])
    chance = model.predict_proba(features(frames["test"]))[:, 1]
    labels = frames["test"]["label"]
    return roc_auc_score(labels, chance), log_loss(labels, chance)


@pytest.mark.slow
@pytest.mark.parametrize("name", tiers.first(LOGS))
def test_logistic_regression_is_that_of_scikit_learn(name, tmp_path):
    """By the default rates."""
    frames = write_log(tmp_path, *LOGS[name])
    code = cli.run(
        f"--data_dir={tmp_path}",
        f"--run_dir={tmp_path}/run",
        "--model=logistic_regression",
        *("--epochs=10", "--batch_size=256", "--eval_every_steps=1000"),
    )
    assert code == 0
    report = json.loads((tmp_path / "run/report/metrics.json").read_text())
    found = report["test"]["click"]
    auc, loss = scikit_learn(frames)
    assert auc > 0.7
    assert found["auc"] == pytest.approx(auc, abs=0.005)
    assert found["logloss"] == pytest.approx(loss, abs=0.01)
    assert found["ne"] < 1


SPEC = FeatureSpec(
    (CategoricalFeature("user", 9), CategoricalFeature("item", 6)),
    (NumericFeature("price"), NumericFeature("age")),
    (VectorFeature("image", 4, 2),),
)


def training(model, *flags):
    with cli.parsed("--mode=plan", f"--model={model}", *flags) as values:
        return Settings.from_flags(values).training


def test_weights_of_numbers_start_at_0():
    model = build_model(LogisticRegressionConfig(SPEC))
    for weight in model.trainable_variables:
        assert not np.asarray(weight).any(), weight.path
    config = FactorizationMachineConfig(
        SPEC, embedding_dim=3, table_initial_scale=0.02, numeric_embeddings=2
    )
    model = build_model(config)
    embedding = model.feature_embedding
    for mlp in (embedding.numeric_mlp, *embedding.vector_mlps):
        kernel, offset = map(np.asarray, mlp.weights)
        rows = kernel.reshape(len(kernel), -1, 4)  # [inputs, rows, d + 1]
        assert not rows[:, :, -1].any() and not offset.any()
        vectors = rows[:, :, :-1]
        assert vectors.all() and abs(vectors).max() <= 0.02


def test_first_order_weights_have_rates_of_their_own():
    linear = LogisticRegressionConfig(SPEC)
    machine = FactorizationMachineConfig(SPEC)
    deep = FactorizationMachineConfig(SPEC, bottom_mlp_units=(4,))
    found = training("logistic_regression")
    assert dense_rate(linear, found) == 0.05
    assert table_rate(linear, found) == 0.2
    found = training("fm")
    assert (dense_rate(machine, found), table_rate(machine, found)) == (
        *(0.05, 0.1),
    )
    assert dense_rate(deep, found) == 1e-3
    found = training("logistic_regression", "--first_order_learning_rate=0.03")
    assert dense_rate(linear, found) == 0.03
    assert table_rate(linear, found) == pytest.approx(0.12)
    # What was asked for by the flags of before is what is done.
    flags = ["--learning_rate=0.01", "--table_learning_rate=0.1"]
    found = training("logistic_regression", *flags)
    assert (dense_rate(linear, found), table_rate(linear, found)) == (
        *(0.01, 0.1),
    )
    found = training("wukong")
    assert table_rate(WukongConfig(SPEC), found) == 0.1


@pytest.mark.parametrize(
    ("flags", "rate"),
    [
        (["wukong"], 2e-3),
        (["wukong", "--learning_rate=0.001"], 1e-3),
        (["wukong", "--dense_optimizer=lion"], 1e-3),
        (["dcn_v2"], 1e-3),
        (["rank_mixer"], 1e-3),
    ],
)
def test_the_default_dense_rate_is_the_models(flags, rate):
    found = training(*flags)
    assert dense_rate(WukongConfig(SPEC), found) == rate
    assert found.learning_rate == rate


def test_the_flag_is_refused_for_other_models(capsys):
    flag = "--first_order_learning_rate"
    assert cli.run("--mode=plan", "--synthetic", f"{flag}=0.1") == 2
    assert f"{flag} contradicts --model=wukong" in capsys.readouterr().err
    arguments = ["--model=fm", f"{flag}=0", "--run_dir=none", "--synthetic"]
    assert cli.run(*arguments) == 2
    assert f"{flag} must be above 0" in capsys.readouterr().err


def test_a_factorization_machine_trains_as_the_oracle():
    """The trainer's own step and optimizers, by their default rates."""
    spec = FeatureSpec(SPEC.categorical, SPEC.numeric)
    model = build_model(FactorizationMachineConfig(spec, embedding_dim=3))
    groups = make_optimizers(model, training("fm"))
    groups.build()
    step = tf.function(make_train_step(model, groups))
    (table,) = [layer.table for layer in model.tables]
    kernel, offset = model.feature_embedding.numeric_mlp.weights
    rest = (kernel, offset, model.bias)
    rows = np.array(table, np.float64)
    oracle = fm_training.FM(
        {"user": rows[:9].copy(), "item": rows[9:].copy()},
        *(np.array(each, np.float64) for each in rest),
        table_rate=0.1,
        rate=0.05,
    )
    losses, expected = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        batch = {
            "user": random.integers(0, 9, 32, np.int32),
            "item": random.integers(0, 6, 32, np.int32),
            "price": random.normal(size=32).astype(np.float32),
            "age": random.normal(size=32).astype(np.float32),
            "label": (random.random(32) < 0.3).astype(np.float32),
        }
        losses.append(float(step({**batch, GLOBAL_ROWS: np.float32(32)})))
        numbers = np.stack([batch["price"], batch["age"]], 1).astype(float)
        expected.append(oracle.step(batch, numbers, batch["label"]))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    moved = np.concatenate(list(oracle.tables.values()))
    np.testing.assert_allclose(np.array(table), moved, atol=2e-5)
    for variable, value in zip(
        rest, (oracle.kernel, oracle.offset, oracle.bias), strict=True
    ):
        np.testing.assert_allclose(np.array(variable), value, atol=2e-5)
    assert expected[-1] < expected[0]
