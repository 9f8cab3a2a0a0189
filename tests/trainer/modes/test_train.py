"""Whole runs of the trainer in this process, on a small Parquet log."""

import functools
import json
import os
import shutil
from unittest import mock

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import wukong_tf
from tests.errors import message
from tests.oracles import models as oracles
from tests.trainer.cli import arguments, run
from tests.worlds import clicks, logs, small_models
from trainer.loop import records, session
from trainer.loop.restore import restore
from trainer.loop.steps import make_train_step
from trainer.modes import train
from trainer.modes.predict import scratch_folder
from trainer.settings.optimization import IF_DIVERGED
from wukong_tf import runs
from wukong_tf.errors import DataError
from wukong_tf.runs.arrays import model_slots, read_arrays

SMALL = {
    "embedding_dim": 8,
    "num_layers": 2,
    "num_fmb": 4,
    "num_lcb": 4,
    "rank": 4,
    "mlp_units": 16,
    "head_units": 16,
    "bottom_mlp_units": 8,
    "dropout": 0.1,
    "batch_size": 128,
    "eval_batch_size": 300,
    "epochs": 2,
    "steps_per_loop": 5,
    "shuffle_rows": 600,
    "warmup_steps": 3,
    "clipnorm": 5,
}


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


@pytest.fixture(scope="module")
def flags_of(log_dir):
    """Arguments for a small run in a directory, with changes."""

    def of(run_dir, **changes):
        options = {"data_dir": log_dir, "run_dir": run_dir, **SMALL, **changes}
        return arguments(**options)

    return of


@pytest.fixture(scope="module")
def finished(tmp_path_factory, flags_of):
    """A finished run's directory; do not change it."""
    run_dir = str(tmp_path_factory.mktemp("runs") / "whole")

    def restore_and_copy(session):
        restore(session)
        # Arrays of the session are views of what training changes.
        at_start = {
            name: np.array(array)
            for name, array in read_arrays(model_slots(session.model)).items()
        }
        np.savez(f"{run_dir}-start.npz", **at_start)

    with mock.patch.object(train, "restore", restore_and_copy):
        assert run(*flags_of(run_dir)) == 0
    return run_dir


def arrays(run_dir, which="latest"):
    return dict(runs.find_checkpoint(run_dir, which))


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_run_directory(finished):
    for name in ("config.json", "features.json", "metrics.jsonl", "lock"):
        assert os.path.exists(os.path.join(finished, name)), name
    assert os.listdir(os.path.join(finished, "tensorboard"))
    samples = pq.read_table(os.path.join(finished, "samples.parquet"))
    held_out = clicks.columns(500, 2)
    assert samples.num_rows == 500
    np.testing.assert_array_equal(samples["user"], held_out["user"])
    np.testing.assert_allclose(samples["price"], held_out["price"], rtol=1e-6)


def test_report_is_what_the_loaded_model_scores(finished):
    model = wukong_tf.load_run(finished)
    raw = clicks.columns(500, 2)
    logits = keras.ops.convert_to_numpy(model(raw)["click"])[:, 0].astype(
        np.float64
    )
    labels, weights = raw["label"], raw["importance"].astype(np.float64)
    loss = np.logaddexp(0, logits) - labels * logits
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        metrics = json.load(file)
    test = metrics["test"]["click"]
    assert test["rows"] == 500
    assert test["logloss"] == pytest.approx(
        np.average(loss, weights=weights), rel=1e-5
    )
    better = logits[:, None] > logits
    equal = logits[:, None] == logits
    pairs = np.outer(weights * labels, weights * (1 - labels))
    auc = np.sum(pairs * (better + 0.5 * equal)) / pairs.sum()
    assert test["auc"] == pytest.approx(auc, abs=1e-6)
    assert test["calibration"] == pytest.approx(
        np.sum(weights / (1 + np.exp(-logits))) / np.sum(weights * labels),
        rel=1e-5,
    )
    rate = np.average(labels, weights=weights)
    entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
    assert test["ne"] == pytest.approx(test["logloss"] / entropy, rel=1e-6)
    assert 0 < test["group_auc"] < 1
    assert metrics["run"]["rows"] == 2 * 1500
    assert metrics["model"]["parameters"] == model.count_params()


def test_every_table_and_weight_moved(finished):
    trained = arrays(finished)
    tables = [name for name in trained if name.startswith("tables/")]
    assert tables == ["tables/user", "tables/item"]
    with np.load(f"{finished}-start.npz") as at_start:
        assert len(at_start) > 10
        for name, array in at_start.items():
            assert np.any(array != trained[name]), name


def test_continued_run_equals_uninterrupted(finished, tmp_path, flags_of):
    """Stopped in an epoch and off every loop, evaluation and window."""
    run_dir = str(tmp_path / "parts")
    for steps in (7, 13, 0):
        assert run(*flags_of(run_dir, max_steps=steps)) == 0
    assert_same(arrays(finished), arrays(run_dir))


def test_loop_length_changes_nothing(finished, tmp_path, flags_of):
    run_dir = str(tmp_path / "loops")
    assert run(*flags_of(run_dir, steps_per_loop=100)) == 0
    assert_same(arrays(finished), arrays(run_dir))


@pytest.mark.full
def test_take_trains_the_same_model(finished, tmp_path, flags_of):
    run_dir = str(tmp_path / "take")
    assert run(*flags_of(run_dir, lookup="take")) == 0
    one, other = arrays(finished), arrays(run_dir)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_allclose(
            array, other[name], rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.slow
def test_another_seed_is_another_run(finished, tmp_path, flags_of):
    run_dir = str(tmp_path / "seed")
    assert run(*flags_of(run_dir, seed=1, max_steps=2)) == 0
    assert np.any(
        arrays(finished)["tables/user"] != arrays(run_dir)["tables/user"]
    )


def test_finished_run_is_only_reported_again(finished, capsys, flags_of):
    before = arrays(finished)
    options = {"slices": "item,price", "importance_rows": 90}
    assert run(*flags_of(finished, **options)) == 0
    assert "resuming from step 24" in capsys.readouterr().err
    assert_same(before, arrays(finished))
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        metrics = json.load(file)
    held_out = clicks.columns(500, 2)
    found = metrics["slices"]["features"]
    assert metrics["slices"]["split"] == "test"
    for row in found["item"]["click"]["largest"]:
        mine = held_out["item"] == int(row["value"])
        assert row["rows"] == mine.sum()
        assert row["positives"] == held_out["label"][mine].sum()
    prices = found["price"]["click"]["largest"]
    assert sum(row["rows"] for row in prices) == 500
    measured = metrics["importance"]
    assert (measured["split"], measured["repeats"]) == ("test", 3)
    assert 80 <= measured["rows"] <= 90
    names = {each["feature"] for each in measured["tasks"]["click"]}
    assert names == set(clicks.SPEC.feature_names)
    bins = metrics["curves"]["test"]["click"]["reliability"]
    assert sum(each["rows"] for each in bins) == 500


@pytest.mark.parametrize("mode", ["eval", "predict"])
@pytest.mark.parametrize(
    "changes, said",
    [
        ({"num_layers": 7}, "--num_layers=7 contradicts --run_dir="),
        ({"mlp_units": "5,5"}, "--mlp_units=5,5 contradicts --run_dir="),
        ({"norm_epsilon": 0.5}, "whose model has 1.0."),
        ({"preset": "internal_1.25gf"}, "--embedding_dim=160 contradicts"),
        ({"model": "dcn_v2", "projection_dim": 4}, "whose model is wukong"),
    ],
)
def test_sizes_of_another_model_are_refused(
    mode, changes, said, finished, log_dir, capsys
):
    files = {"data_dir": log_dir}
    if mode == "predict":
        files = {"predict_files": "x", "output": "y"}
    options = {"mode": mode, "run_dir": finished, **files, **changes}
    assert run(*arguments(**options)) == 2
    assert said in capsys.readouterr().err


def test_only_features_can_be_sliced(finished, tmp_path, capsys, flags_of):
    for mode, run_dir in (("train", str(tmp_path)), ("eval", finished)):
        assert run(*flags_of(run_dir, mode=mode, slices="content")) == 2
        said = capsys.readouterr().err
        assert "--slices must name features" in said and "'content'" in said
    assert run(*flags_of(finished, mode="eval", slices="user")) == 0
    printed = json.loads(capsys.readouterr().out)
    largest = printed["slices"]["features"]["user"]["click"]["largest"]
    held_out = clicks.columns(500, 2)["user"]
    rows = sorted(np.bincount(held_out), reverse=True)[:24]
    assert [row["rows"] for row in largest] == rows


@pytest.mark.full
def test_corrupted_newest_checkpoint_falls_back(
    finished, tmp_path, capsys, flags_of
):
    run_dir = str(tmp_path / "broken")
    shutil.copytree(finished, run_dir)
    steps = runs.checkpoint_paths(run_dir)
    assert len(steps) >= 2
    newest = steps[-1][1]
    victim = os.path.join(newest, "00000.npy")
    with open(victim, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    assert run(*flags_of(run_dir)) == 0
    said = capsys.readouterr().err
    assert "corrupted checkpoint" in said and victim in said
    assert f"resuming from step {steps[-2][0]}" in said
    assert_same(arrays(finished), arrays(run_dir))


def test_another_configuration_is_refused(finished, tmp_path, capsys, flags_of):
    before = arrays(finished)
    assert run(*flags_of(finished, batch_size=64)) == 2
    said = capsys.readouterr().err
    assert "another configuration" in said
    assert "batch_size was 128, is 64" in said
    assert run(*flags_of(finished, num_fmb=5)) == 2
    assert "num_fmb was 4, is 5" in capsys.readouterr().err
    assert_same(before, arrays(finished))


def test_second_run_on_one_directory_is_refused(finished, capsys, flags_of):
    from trainer.checkpoints.run_directory import locked

    with locked(finished):
        assert run(*flags_of(finished)) == 2
    assert "in use by another process" in capsys.readouterr().err


def test_unwritable_run_directory(tmp_path, capsys, flags_of):
    file = tmp_path / "file"
    file.write_text("")
    assert run(*flags_of(str(file / "run"))) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_loss_that_is_not_finite_names_the_step(tmp_path, capsys, flags_of):
    run_dir = str(tmp_path / "nan")
    options = {"table_learning_rate": 3e38, "warmup_steps": 0, "clipnorm": 0}
    assert run(*flags_of(run_dir, learning_rate=3e38, **options)) == 2
    said = capsys.readouterr().err
    assert "the loss of step" in said and "is not finite" in said
    assert IF_DIVERGED in said  # by which a study knows
    assert runs.checkpoint_paths(run_dir) == []


@pytest.mark.full
def test_early_stopping_keeps_the_best(tmp_path, flags_of):
    run_dir = str(tmp_path / "early")
    # So fast that the valid split soon gets worse.
    options = {
        "epochs": 40,
        "eval_every_steps": 2,
        "patience": 2,
        "learning_rate": 0.03,
        "table_learning_rate": 0.5,
        "keep_checkpoints": 1,
    }
    assert run(*flags_of(run_dir, **options)) == 0
    state = runs.find_checkpoint(run_dir, "latest").state
    assert state["stopped_early"] and state["step"] < 40 * 12
    values = [evaluation["value"] for evaluation in state["evaluations"]]
    best = state["evaluations"][int(np.argmin(values))]
    assert [e["best"] for e in state["evaluations"]][-2:] == [False, False]
    assert runs.best_step(run_dir) == best["step"]
    assert runs.find_checkpoint(run_dir, "best").step == best["step"]
    kept = [step for step, _ in runs.checkpoint_paths(run_dir)]
    assert kept == [best["step"], state["step"]]
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        metrics = json.load(file)
    assert metrics["run"]["checkpoint_step"] == best["step"]
    assert metrics["valid"]["click"]["logloss"] == pytest.approx(
        best["value"], rel=1e-6
    )
    # Stopped between the two evaluations that did not improve.
    parts = str(tmp_path / "parts")
    for steps in (state["step"] - 2, 0):
        assert run(*flags_of(parts, max_steps=steps, **options)) == 0
    resumed = runs.find_checkpoint(parts, "latest").state
    for key in ("step", "stopped_early", "evaluations"):
        assert resumed[key] == state[key], key
    assert runs.best_step(parts) == best["step"]


@pytest.mark.full
def test_bfloat16_trains_with_products_in_bfloat16(tmp_path, flags_of):
    """Forward and backward, from X_0 on; tables and weights are float32."""
    run_dir = str(tmp_path / "half")
    products = []

    def make(*args, **kwargs):
        step = make_train_step(*args, **kwargs)

        @functools.wraps(step)
        def traced(*inputs):
            result = step(*inputs)
            graph = tf.compat.v1.get_default_graph()
            products.extend(
                (operation.name, operation.outputs[0].dtype)
                for operation in graph.get_operations()
                if "MatMul" in operation.type
            )
            return result

        return traced

    with mock.patch.object(session, "make_train_step", make):
        assert run(*flags_of(run_dir, precision="bfloat16", max_steps=4)) == 0
    after = {d for name, d in products if "feature_embedding" not in name}
    assert len(products) > 20 and after == {tf.bfloat16}
    assert arrays(run_dir)["tables/user"].dtype == np.float32


@pytest.mark.full
def test_logistic_regression_beside_wukong(finished, tmp_path, log_dir):
    run_dir = str(tmp_path / "linear")
    options = {
        "data_dir": log_dir,
        "run_dir": run_dir,
        "model": "logistic_regression",
        "batch_size": 128,
        "epochs": 4,
        "learning_rate": 0.05,
        "compare_runs": finished,
    }
    assert run(*arguments(**options)) == 0
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        metrics = json.load(file)
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        other = json.load(file)
    assert metrics["compared"]["whole"]["test"] == other["test"]
    assert metrics["test"]["click"]["auc"] > 0.55


def test_metrics_log_keeps_one_record_a_window(finished):
    with open(os.path.join(finished, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    steps = [r["step"] for r in records if r["kind"] == "train"]
    assert steps == [5, 10, 12, 15, 20, 24]
    assert [r["step"] for r in records if r["kind"] == "valid"] == [12, 24]
    ranks = [r for r in records if r["kind"] == "stable_rank"]
    assert [r["step"] for r in ranks] == [12, 24]
    model = runs.read_config(finished)["model"]
    layers = range(1, model["num_layers"] + 1)
    names = ["embeddings", *(f"layer_{layer}" for layer in layers)]
    assert all(list(r) == ["step", "kind", *names] for r in ranks)
    width = model["embedding_dim"]
    assert all(1 <= r[name] <= width for r in ranks for name in names)
    assert os.path.exists(os.path.join(finished, "report", "stable_rank.png"))
    rates = {r["step"]: r["learning_rate"] for r in records if "loss" in r}
    assert rates[5] == pytest.approx(2e-3)


@pytest.mark.full
def test_records_after_the_checkpoint_are_dropped(tmp_path, flags_of):
    run_dir = str(tmp_path / "log")
    assert run(*flags_of(run_dir, max_steps=6)) == 0
    path = os.path.join(run_dir, "metrics.jsonl")
    with open(path, "a") as file:
        file.write('{"step": 99, "kind": "train", "loss": 1.0}\n{"step": 7, "k')
    assert run(*flags_of(run_dir, max_steps=8)) == 0
    with open(path) as file:
        steps = [json.loads(line)["step"] for line in file]
    assert 99 not in steps and max(steps) == 8


def test_eval_gives_the_report_s_figures(finished, tmp_path, capsys, log_dir):
    output = str(tmp_path / "eval.json")
    options = {"data_dir": log_dir, "run_dir": finished, "output": output}
    assert run(*arguments(mode="eval", **options)) == 0
    printed = json.loads(capsys.readouterr().out)
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        report = json.load(file)
    with open(output) as file:
        assert json.load(file) == printed
    for split in ("valid", "test"):
        for name, value in report[split]["click"].items():
            assert printed[split]["click"][name] == pytest.approx(
                value, rel=1e-6
            ), name


def test_predict_scores_rows_in_order_without_labels(finished, tmp_path):
    raw = clicks.columns(700, 5)
    inputs = {k: v for k, v in raw.items() if k in clicks.SPEC.feature_names}
    path, output = str(tmp_path / "rows.parquet"), str(tmp_path / "out.parquet")
    logs.write(path, inputs)
    options = {"run_dir": finished, "predict_files": path, "output": output}
    assert run(*arguments(mode="predict", eval_batch_size=256, **options)) == 0
    table = pq.read_table(output)
    model = wukong_tf.load_run(finished)
    logits = keras.ops.convert_to_numpy(model(inputs)["click"])[:, 0]
    weights = {
        name: value
        for name, value in read_arrays(model_slots(model)).items()
        if "seed_generator" not in name
    }
    exact = oracles.wukong(
        model.config,
        small_models.float64(inputs),
        small_models.float64(weights),
    )[:, 0]
    for found in (logits, table["logit"].to_numpy()):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        table["probability"].to_numpy(),
        1 / (1 + np.exp(-logits.astype(np.float64))),
        atol=1e-6,
    )


def test_what_a_killed_prediction_left_is_taken_over(tmp_path):
    output = str(tmp_path / "out.parquet")
    made = tmp_path / ".out.parquet.rows-0"
    with scratch_folder(output, 0) as rows:
        open(f"{rows}/0", "w").close()
        with scratch_folder(output, 1):
            pass  # another worker's
        said = message(DataError, scratch_folder(output, 0).__enter__)
        assert "is being written by another process" in said
        shutil.copytree(made, tmp_path / "left")
    assert os.listdir(tmp_path) == ["left"]
    os.rename(tmp_path / "left", made)
    with scratch_folder(output, 0) as rows:
        assert os.listdir(rows) == []
    assert os.listdir(tmp_path) == []


def test_plan_allocates_no_table(tmp_path, capsys):
    rows = 2_000_000_000  # 128 GB at width 16
    spec = {
        "categorical": [
            {"name": "user", "num_ids": rows},
            {"name": "item", "num_ids": 1000},
        ]
    }
    path = tmp_path / "features.json"
    path.write_text(json.dumps(spec))
    options = {"mode": "plan", "features": str(path), "rank": 2}
    assert run(*arguments(**options, host_memory_gib=999)) == 0
    said = capsys.readouterr().out
    assert f"{rows * 16 * 4:,}" in said and f"{rows * 4:,}" in said
    assert f"{(rows + 1000) * 16:,} of them in tables" in said


def test_plan_takes_a_preset_and_what_flags_say_instead(capsys):
    options = {"mode": "plan", "synthetic": True, "rank": 8}
    options["preset"] = "criteo_l2_n8_mlp1x512"
    said = []
    for changes in ({}, {"num_layers": 1}, {"fm": "full"}):
        assert run(*arguments(**options, **changes)) == 0
        said.append(capsys.readouterr().out)
    assert "layer 1 lcb" in said[0] and "layer 2" not in said[0]
    assert "layer 1" not in said[1]
    for text in said:
        assert "data: 2,000,000 training rows" in text
        assert "1,954 steps, 1,954 an epoch; evaluated every 391" in text
        assert "GFLOP per example" in text
    assert said[2] != said[0]


@pytest.mark.full
def test_patience_may_be_raised_when_a_run_goes_on(tmp_path, flags_of):
    run_dir = str(tmp_path / "patient")
    options = {
        "epochs": 8,
        "eval_every_steps": 2,
        "learning_rate": 0.03,
        "table_learning_rate": 0.5,
        "early_stopping_metric": "auc",
    }
    assert run(*flags_of(run_dir, patience=1, **options)) == 0
    state = runs.find_checkpoint(run_dir, "latest").state
    assert state["stopped_early"] and state["step"] < 96
    values = [evaluation["value"] for evaluation in state["evaluations"]]
    assert values[-1] <= max(values[:-1])
    assert runs.best_step(run_dir) == 2 * (1 + int(np.argmax(values)))
    assert run(*flags_of(run_dir, patience=0, **options)) == 0
    assert runs.find_checkpoint(run_dir, "latest").step == 96


@pytest.mark.full
def test_patience_runs_out_across_stops(tmp_path, flags_of):
    """Wherever a run is cut, it ends early at the same step."""
    options = {
        "epochs": 8,
        "eval_every_steps": 2,
        "learning_rate": 0.03,
        "table_learning_rate": 0.5,
        "early_stopping_metric": "auc",
        "patience": 2,
    }
    whole = str(tmp_path / "whole")
    assert run(*flags_of(whole, **options)) == 0
    last = runs.find_checkpoint(whole, "latest")
    assert last.state["stopped_early"]
    cuts = range(last.step - 4, last.step + 1, 2)
    for cut in cuts:
        run_dir = str(tmp_path / str(cut))
        assert run(*flags_of(run_dir, **options, max_steps=cut)) == 0
        assert run(*flags_of(run_dir, **options)) == 0
        assert_same_end(run_dir, whole)
    run_dir = str(tmp_path / "each")  # the count of two evaluations, in parts
    for cut in cuts:
        assert run(*flags_of(run_dir, **options, max_steps=cut)) == 0
    assert run(*flags_of(run_dir, **options)) == 0
    assert_same_end(run_dir, whole)


def assert_same_end(run_dir, whole):
    """Two runs' last checkpoints and best steps are the same."""
    ended, last = (runs.find_checkpoint(d, "latest") for d in (run_dir, whole))
    timed = {"seconds": 0, "input_seconds": 0}
    assert ended.state | timed == last.state | timed
    assert runs.best_step(run_dir) == runs.best_step(whole)
    for name in last:
        np.testing.assert_array_equal(ended[name], last[name])


def test_another_synthetic_log_is_another_configuration(tmp_path, capsys):
    rows = {f"synthetic_{split}_rows": 600 for split in ("valid", "test")}
    options = {
        **{"synthetic": True, "synthetic_train_rows": 2000, **rows},
        **{"run_dir": str(tmp_path / "run"), "model": "logistic_regression"},
    }
    assert run(*arguments(**options)) == 0
    assert run(*arguments(**options, synthetic_seed=1)) == 2
    assert "seed was 0, is 1" in capsys.readouterr().err


def test_tensorboard_has_what_the_log_has(finished):
    with open(os.path.join(finished, "metrics.jsonl")) as file:
        records = [json.loads(line) for line in file]
    expected = {
        (f"train/{name}", record["step"]): record[name]
        for record in records
        for name in ("loss", "input_wait", "examples_per_s")
        if record["kind"] == "train"
    } | {
        ("valid/click/auc", record["step"]): record["click"]["auc"]
        for record in records
        if record["kind"] == "valid"
    }
    expected |= {
        (f"stable_rank/{name}", record["step"]): record[name]
        for record in records
        for name in ("embeddings", "layer_1")
        if record["kind"] == "stable_rank"
    }
    found = {}
    folder = os.path.join(finished, "tensorboard")
    for name in os.listdir(folder):
        for raw in tf.data.TFRecordDataset(os.path.join(folder, name)):
            event = tf.compat.v1.Event.FromString(raw.numpy())
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found[value.tag, event.step] = number
    for key, number in expected.items():
        assert found[key] == pytest.approx(number, rel=1e-5), key


def delete(run_dir):
    shutil.rmtree(run_dir)


def move(run_dir):
    os.rename(run_dir, f"{run_dir}-moved")


def replace_by_a_link(run_dir):
    move(run_dir)
    shutil.copytree(f"{run_dir}-moved", f"{run_dir}-other")
    os.symlink(f"{run_dir}-other", run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("lose", [delete, move, replace_by_a_link])
def test_a_run_whose_directory_goes_away_stops(
    tmp_path, flags_of, monkeypatch, capsys, lose
):
    """And makes no other in its place."""
    run_dir = str(tmp_path / "run")
    record = records.WriteTraining.__call__

    def lost(self, progress, window):
        record(self, progress, window)
        if progress.step >= 10 and not os.path.exists(f"{run_dir}-lost"):
            open(f"{run_dir}-lost", "w").close()
            lose(run_dir)

    monkeypatch.setattr(records.WriteTraining, "__call__", lost)
    assert run(*flags_of(run_dir)) == 2
    error = capsys.readouterr().err
    assert f"error: --run_dir={run_dir} was deleted, moved or replaced" in error
    if lose is not replace_by_a_link:
        assert not os.path.exists(run_dir)
    else:
        assert not os.path.exists(os.path.join(run_dir, "report"))


@pytest.mark.slow
def test_broken_lines_of_the_metrics_cost_those_lines_alone(tmp_path, flags_of):
    run_dir = str(tmp_path / "run")
    assert run(*flags_of(run_dir, max_steps=5)) == 0
    path = tmp_path / "run" / "metrics.jsonl"
    whole = path.read_bytes()
    broken = [
        b"\xff{}",
        b"\0" * 40,
        b'{"step": "3"}',
        b'{"step": null}',
        b"[" * 9,
    ]
    path.write_bytes(whole + b"\n".join([*broken, b""]))
    assert run(*flags_of(run_dir, max_steps=8)) == 0
    lines = path.read_bytes()
    assert lines.startswith(whole)
    assert all(
        isinstance(json.loads(x)["step"], int) for x in lines.splitlines()
    )


def test_plan_shows_the_dense_state_of_workers(capsys):
    options = {"mode": "plan", "synthetic": True, "rank": 8}
    assert run(*arguments(**options)) == 0
    whole = capsys.readouterr().out
    assert run(*arguments(**options, dense_state="sharded")) == 0
    said = capsys.readouterr().out
    (dense,) = (line for line in whole.splitlines() if "dense part" in line)
    size = int(dense.split()[3].replace(",", ""))
    assert "dense optimizer state bytes of each" in said
    for workers in (1, 2, 64):
        row = [str(workers), f"{-(-size // workers):,}"]
        assert row in [line.split() for line in said.splitlines()]
