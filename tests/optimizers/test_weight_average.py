"""The running average of weights: its formula, its place, its use."""

import json
import os

import keras
import numpy as np
import pytest

from tests import tiers
from tests.trainer.cli import arguments, run
from tests.worlds import clicks
from wukong_tf import load_run, runs
from wukong_tf.optimizers import OptimizerGroups, WeightAverage

SMALL = {
    "rank": 2,
    "num_layers": 1,
    "num_fmb": 4,
    "num_lcb": 4,
    "mlp_units": 8,
    "head_units": 8,
    "batch_size": 100,
    "epochs": 2,
    "learning_rate": 0.02,
}


def test_the_average_follows_its_formula():
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(30, 2, 3)).astype(np.float32)
    variable = keras.Variable(weights[0])
    average = WeightAverage([variable], 0.8)
    expected = weights[0].astype(np.float64)
    for step, value in enumerate(weights[1:], 1):
        variable.assign(value)
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        np.testing.assert_allclose(
            average.averages[0], expected, rtol=1e-5, atol=1e-6
        )
    with average.applied():
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(variable, weights[-1])
    average.restart()
    np.testing.assert_array_equal(average.averages[0], weights[-1])


def test_weights_come_back_where_a_use_of_averages_fails():
    variable = keras.Variable([1.0])
    average = WeightAverage([variable], 0.5)
    variable.assign([3.0])
    with pytest.raises(KeyError), average.applied():
        assert float(variable[0]) == 1.0
        raise KeyError
    assert float(variable[0]) == 3.0


@pytest.mark.parametrize("names", [["dense"], ["dense", "tables"]])
def test_only_the_named_groups_are_averaged(names):
    table = keras.Variable(np.zeros((4, 2)), name="table")
    dense = keras.Variable([0.0], name="dense")
    groups = OptimizerGroups(
        [table, dense],
        {
            "tables": (keras.optimizers.SGD(1.0), "table"),
            "dense": (keras.optimizers.SGD(1.0), None),
        },
        average=(names, 0.9),
    )
    groups.build()
    assert groups.average is not None
    assert groups.average.variables == [dense, table][: len(names)]
    assert not any(each.trainable for each in groups.average.averages)
    groups.apply([keras.ops.ones((4, 2)), keras.ops.array([11.0])])
    assert float(groups.average.averages[0][0]) == pytest.approx(-9.0)
    for average in groups.average.averages[1:]:
        np.testing.assert_allclose(average, np.full((4, 2), -9 / 11))


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="`decay` must be in"):
        WeightAverage([], decay)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


def train(log, run_dir, **options):
    options = {**SMALL, "data_dir": log, "run_dir": run_dir, **options}
    assert run(*arguments(**options)) == 0
    return str(run_dir)


def metrics(run_dir, name="report/metrics.json"):
    with open(os.path.join(run_dir, name)) as file:
        return json.load(file)


@pytest.mark.slow
@pytest.mark.parametrize("tables", tiers.first(["adam", "rowwise_adagrad"]))
def test_averages_are_evaluated_saved_and_served(tables, log, tmp_path):
    """And training itself does not know of them."""
    options = {"table_optimizer": tables}
    plain = train(log, tmp_path / "plain", **options)
    options["average_weights"] = 0.9
    averaged = train(log, tmp_path / "averaged", **options)
    last, ours = (
        dict(runs.find_checkpoint(each, "latest")) for each in (plain, averaged)
    )
    for name, array in last.items():
        kinds = ("dense/", "tables/")[: 2 if tables == "adam" else 1]
        if name.startswith(kinds):
            trained = ours[f"optimizer/average/{name.removeprefix('dense/')}"]
            np.testing.assert_array_equal(trained, array, err_msg=name)
            assert np.any(ours[name] != array), name
        else:
            np.testing.assert_array_equal(ours[name], array, err_msg=name)
    # The report's figures are those of the weights that load_run gives.
    output = tmp_path / "eval.json"
    options = {"mode": "eval", "run_dir": averaged, "data_dir": log}
    assert run(*arguments(**options, output=output)) == 0
    assert json.loads(output.read_text())["test"]["click"] == pytest.approx(
        metrics(averaged)["test"]["click"], rel=1e-6
    )
    with open(os.path.join(averaged, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    valid = [r for r in records if r["kind"] == "valid"]
    best = metrics(averaged)["valid"]["click"]["logloss"]
    assert min(r["click"]["logloss"] for r in valid) == pytest.approx(best)
    model = load_run(averaged, "latest")
    assert model.count_params() == metrics(averaged)["model"]["parameters"]


@pytest.mark.full
@pytest.mark.parametrize("tables", ["adam", "rowwise_adagrad"])
def test_a_stop_changes_no_average(tables, log, tmp_path):
    options = {"average_weights": 0.9, "table_optimizer": tables}
    whole = train(log, tmp_path / "whole", **options)
    for steps in (4, 17, 0):
        parts = train(log, tmp_path / "parts", **options, max_steps=steps)
    one, other = (
        dict(runs.find_checkpoint(each, "latest")) for each in (whole, parts)
    )
    assert set(one) == set(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("tables", tiers.first(["adam", "rowwise_adagrad"]))
@pytest.mark.parametrize("optimizer", tiers.first([True, False]))
@pytest.mark.parametrize(
    "before, after", tiers.first([(0.0, 0.9), (0.9, 0.0), (0.9, 0.9)])
)
def test_a_run_may_start_from_one_with_or_without_averages(
    before, after, optimizer, tables, log, tmp_path
):
    options = {"epochs": 1, "table_optimizer": tables}
    first = train(log, tmp_path / "first", average_weights=before, **options)
    second = train(
        log,
        tmp_path / "second",
        average_weights=after,
        init_from=first,
        init_optimizer=optimizer,
        learning_rate=1e-12,
        table_learning_rate=1e-12,
        **options,
    )
    old = dict(runs.find_checkpoint(first, "best"))
    new = dict(runs.find_checkpoint(second, "latest"))
    for name in old:
        if name.startswith(("dense/", "tables/")) and name in new:
            # Averages move towards the trained weights, and not elsewhere.
            path = name.removeprefix("dense/")
            kept = old.get(f"optimizer/average/{path}", old[name])
            low, high = np.minimum(old[name], kept), np.maximum(old[name], kept)
            assert np.all(new[name] >= low - 1e-6), name
            assert np.all(new[name] <= high + 1e-6), name
