"""Bags, units, groups and two tasks, from Parquet to what is served."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import wukong_tf
from tests.export.conftest import exported, run_main
from tests.trainer.cli import arguments, run
from tests.worlds import rich_clicks
from trainer.data.parquet import ParquetSource
from wukong_tf.features import signature

pytestmark = pytest.mark.slow

SMALL = {
    "embedding_dim": 6,
    "num_layers": 2,
    "num_fmb": 3,
    "num_lcb": 3,
    "rank": 3,
    "mlp_units": "12/8",
    "head_units": 8,
    "bottom_mlp_units": 8,
    "numeric_embeddings": 2,
    "batch_size": 128,
    "epochs": 2,
    "steps_per_loop": 5,
    "shuffle_rows": 600,
    "table_learning_rate": 0.3,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return rich_clicks.write_log(str(tmp_path_factory.mktemp("log")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, folder):
    run_dir = str(tmp_path_factory.mktemp("runs") / "rich")
    options = {"data_dir": folder, "run_dir": run_dir, **SMALL}
    assert run(*arguments(**options)) == 0
    return run_dir


def read(folder, split="test"):
    """All rows of a split, as the trainer reads them."""
    path = os.path.join(folder, f"{split}.parquet")
    source = ParquetSource([path], rich_clicks.SPEC)
    return next(source.batches(source.num_rows))


def scores(model, batch):
    """{task: logits [N]} as served."""
    logits = model.served_logits(model(batch, training=False))
    return {task: value.numpy()[:, 0] for task, value in logits.items()}


def test_bags_are_read_as_they_were_written(folder):
    batch = read(folder)
    table = pq.read_table(os.path.join(folder, "test.parquet")).to_pylist()
    for row, want in enumerate(table):
        for name, size in (("seen", 4), ("tags", 3)):
            ids = want[name] or []
            expected = ids + [0] * (size - len(ids))
            assert batch[name][row].tolist() == expected
        weights = want["seen_weights"] or []
        expected = np.float32(list(weights) + [0.0] * (4 - len(weights)))
        np.testing.assert_array_equal(batch["seen_weights"][row], expected)
        label = batch["bought"][row]
        assert (
            np.isnan(label)
            if want["bought"] is None
            else (label == want["bought"])
        )


def test_both_tasks_are_learned_and_reported(finished):
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        metrics = json.load(file)
    test = metrics["test"]
    assert set(test) == {"click", "buy"}
    assert test["click"]["auc"] > 0.65
    assert test["buy"]["auc"] > 0.6
    assert test["click"]["rows"] == 300
    assert test["buy"]["rows"] < 300
    assert metrics["cost"]["parameters"] == metrics["model"]["parameters"]
    pictures = os.listdir(os.path.join(finished, "report"))
    for task in ("click", "buy"):
        assert f"roc_{task}.png" in pictures


def test_metrics_leave_out_rows_without_a_label(finished, folder):
    from wukong_tf.metrics import exact_auc

    with open(os.path.join(finished, "report", "metrics.json")) as file:
        found = json.load(file)["test"]["buy"]
    batch = read(folder)
    known = ~np.isnan(batch["bought"])
    logits = scores(wukong_tf.load_run(finished), batch)["buy"][known]
    labels = batch["bought"][known]
    assert found["rows"] == known.sum()
    assert found["auc"] == pytest.approx(exact_auc(labels, logits), abs=2e-6)
    loss = np.mean(np.logaddexp(0, logits) - labels * logits)
    assert found["logloss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.full
def test_sampled_negatives_are_put_right_wherever_scores_leave(
    folder, tmp_path
):
    """In the report, in what predict writes and in what is exported."""
    run_dir = str(tmp_path / "sampled")
    options = {"data_dir": folder, "run_dir": run_dir, "model": "fm"}
    options |= {"negative_rate": "click:0.25", "batch_size": 128}
    assert run(*arguments(**options)) == 0
    model = wukong_tf.load_run(run_dir)
    batch = read(folder)
    raw = model(batch)
    served = scores(model, batch)
    for task, rate in (("click", 0.25), ("buy", 1.0)):
        np.testing.assert_allclose(
            served[task], raw[task][:, 0] + np.log(rate), rtol=1e-5, atol=1e-6
        )
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        test = json.load(file)["test"]
    found = test["click"]
    rates = [test[task].get("negative_rate") for task in ("click", "buy")]
    assert rates == [0.25, None]
    labels = batch["clicked"]
    p = 1 / (1 + np.exp(-served["click"].astype(np.float64)))
    weights = np.where(labels == 0, 4.0, 1.0)
    expected = weights @ p / labels.sum()
    assert found["calibration"] == pytest.approx(expected, rel=1e-5)
    whole = evaluate(
        run_dir, folder, tmp_path / "whole.json", eval_negative_rate=1
    )
    assert whole["test"]["click"]["calibration"] == pytest.approx(
        p.sum() / labels.sum(), rel=1e-5
    )
    output = tmp_path / "exports"
    exported(run_dir, output, "--version=1")
    serve = tf.saved_model.load(str(output / "1")).signatures["serving_default"]
    request = {
        name: tf.constant(batch[name].astype(form.dtype.as_numpy_dtype))
        for name, form in signature(rich_clicks.SPEC).items()
    }
    np.testing.assert_allclose(
        serve(**request)["click_logit"], served["click"], atol=1e-5
    )


def evaluate(run_dir, folder, output, **more):
    options = {
        "mode": "eval",
        "run_dir": run_dir,
        "data_dir": folder,
        "output": str(output),
        **more,
    }
    assert run(*arguments(**options)) == 0
    return json.loads(output.read_text())


def test_without_a_cut_eval_gives_the_reports_metrics(
    finished, folder, tmp_path
):
    found = evaluate(finished, folder, tmp_path / "metrics.json")
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        assert found["test"] == json.load(file)["test"]


@pytest.mark.parametrize("keep", [2, 1])
@pytest.mark.full
def test_a_cut_version_scores_as_eval_does(finished, folder, tmp_path, keep):
    """Metrics and rows' scores, through both formats; and it is smaller."""
    import onnxruntime

    output = tmp_path / "exports"
    exported(finished, output, "--version=1", f"--keep_units=user:{keep}")
    batch = read(folder)
    spec = rich_clicks.SPEC
    request = {
        name: batch[name].astype(form.dtype.as_numpy_dtype)
        for name, form in signature(spec).items()
    }
    cut = wukong_tf.load_run(finished, keep_units={"user": keep})
    expected = scores(cut, batch)
    full = scores(wukong_tf.load_run(finished), batch)
    assert np.abs(full["click"] - expected["click"]).max() > 1e-3

    loaded = tf.saved_model.load(str(output / "1"))
    serve = loaded.signatures["serving_default"]
    found = serve(**{k: tf.constant(v) for k, v in request.items()})
    session = onnxruntime.InferenceSession(str(output / "1/onnx/model.onnx"))
    names = [each.name for each in session.get_outputs()]
    by_onnx = dict(zip(names, session.run(names, request), strict=True))
    metrics = evaluate(
        finished, folder, tmp_path / "m.json", keep_units=f"user:{keep}"
    )
    for task, logit in expected.items():
        np.testing.assert_allclose(found[f"{task}_logit"], logit, atol=1e-5)
        np.testing.assert_allclose(by_onnx[f"{task}_logit"], logit, atol=1e-5)
        probability = 1 / (1 + np.exp(-logit.astype(np.float64)))
        np.testing.assert_allclose(
            by_onnx[f"{task}_probability"], probability, atol=1e-5
        )
        label = batch[{"click": "clicked", "buy": "bought"}[task]]
        known = ~np.isnan(label)
        loss = np.logaddexp(0, logit) - label * logit
        assert metrics["test"][task]["logloss"] == pytest.approx(
            loss[known].mean(), abs=1e-5
        )

    manifest = json.loads((output / "1/manifest.json").read_text())
    (user,) = [
        each
        for each in manifest["features"]["columns"]["categorical"]
        if each["name"] == "user"
    ]
    assert (user["units"], user["keep_units"]) == (3, keep)
    shapes = {
        tuple(variable.shape)
        for variable in loaded.signatures["serving_default"].variables
    }
    # At 6 floats a unit, all tables of a cut width are one variable.
    widths = {shape[1] for shape in shapes if len(shape) == 2}
    rows = sum(shape[0] for shape in shapes if shape[1:] == (6 * keep,))
    assert rows >= 40 and 6 * keep in widths
    assert not any(shape[0] >= 40 and shape[1:] == (18,) for shape in shapes)


def test_a_cut_that_cannot_be_is_refused_by_name(finished, tmp_path):
    for keep, words in (
        ("item:1", ["'item'", "['user']"]),
        ("user:4", ["'user'", "units=3", "received 4"]),
        ("user:0", ["'user'", "received 0"]),
        ("user:x", ["--keep_units must be"]),
        ("0", ["received 0"]),
    ):
        options = {"run_dir": finished, "keep_units": keep}
        code, _, err = run_main(
            *arguments(output=str(tmp_path / "out"), **options)
        )
        assert code == 2
        assert all(word in err for word in words), err
    assert list(tmp_path.iterdir()) == []


def test_predict_scores_rows_as_the_model_does(finished, folder, tmp_path):
    output = tmp_path / "scores.parquet"
    files = os.path.join(folder, "test.parquet")
    options = {"predict_files": files, "output": str(output), "keep_units": 2}
    options |= {"mode": "predict", "run_dir": finished}
    assert run(*arguments(**options)) == 0
    table = pq.read_table(output)
    model = wukong_tf.load_run(finished, keep_units=2)
    for task, logit in scores(model, read(folder)).items():
        np.testing.assert_allclose(
            table[f"{task}_logit"].to_numpy(), logit, atol=1e-5
        )
