"""One pass over days of a log: scored first, then trained on, day by day."""

import json
import os
import re

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.cli import arguments, run
from tests.trainer.preparation.command import prepared
from tests.worlds import clicks
from trainer.data.parquet import ParquetSource
from wukong_tf import load_run, runs
from wukong_tf.config import FeatureSpec
from wukong_tf.models import build_model

pytestmark = pytest.mark.slow

SMALL = {
    "rank": 2,
    "num_layers": 1,
    "num_fmb": 4,
    "num_lcb": 4,
    "mlp_units": 8,
    "head_units": 8,
    "embedding_dim": 4,
    "table_learning_rate": 0.2,
    "learning_rate": 0.01,
    "eval": "progressive",
}


def report(run_dir):
    with open(os.path.join(run_dir, "report", "metrics.json")) as file:
        return json.load(file)


def records(run_dir, kind):
    with open(os.path.join(run_dir, "metrics.jsonl")) as file:
        found = [json.loads(line) for line in file]
    return [record for record in found if record["kind"] == kind]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


def train(run_dir, data_dir, **options):
    options = {**SMALL, "data_dir": data_dir, "run_dir": run_dir, **options}
    return run(*arguments(**options))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, log):
    run_dir = str(tmp_path_factory.mktemp("runs") / "progressive")
    options = {"batch_size": 100, "progressive_window_rows": 400}
    assert train(run_dir, log, shuffle_rows=0, **options) == 0
    return run_dir


def initial(run_dir):
    """The model of a run before its first step."""
    keras.utils.set_random_seed(0)
    return build_model(runs.read_model_config(run_dir))


def losses_of(model, batch):
    """Weighted cross-entropies of a batch's rows, and their weights."""
    logits = model(batch, training=False)["click"]
    logits = np.asarray(logits, np.float64)[:, 0]
    losses = np.logaddexp(0, logits) - batch["label"] * logits
    return batch["importance"] * losses, batch["importance"]


def test_each_batch_is_scored_before_it_is_trained_on(finished, log, tmp_path):
    """The first window is that of runs that stop before each of its steps."""
    windows = records(finished, "progressive")
    assert [record["step"] for record in windows] == [4, 8, 12, 15]
    source = ParquetSource([os.path.join(log, "train.parquet")], clicks.SPEC)
    batches = list(source.batches(100))[:4]
    run_dir = str(tmp_path / "again")
    models = [initial(finished)]
    for step in (1, 2, 3):
        options = {"batch_size": 100, "max_steps": step}
        assert train(run_dir, log, shuffle_rows=0, **options) == 0
        models.append(load_run(run_dir, "latest"))
    found = [
        losses_of(model, batch)
        for model, batch in zip(models, batches, strict=True)
    ]
    losses, weights = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    labels = np.concatenate([batch["label"] for batch in batches])
    window = windows[0]["click"]["window"]
    assert window == windows[0]["click"]["lifetime"]
    assert window["rows"] == 400
    assert window["logloss"] == pytest.approx(
        losses.sum() / weights.sum(), rel=1e-5
    )
    rate = np.average(labels, weights=weights)
    entropy = -rate * np.log(rate) - (1 - rate) * np.log(1 - rate)
    assert window["ne"] == pytest.approx(window["logloss"] / entropy, rel=1e-6)


def test_windows_add_up_to_the_lifetime(finished):
    windows = records(finished, "progressive")
    rows = [record["click"]["window"]["rows"] for record in windows]
    assert rows == [400, 400, 400, 300]
    assert [r["click"]["lifetime"]["rows"] for r in windows] == [
        400,
        800,
        1200,
        1500,
    ]
    found = report(finished)["progressive"]
    # The last whole window, and all rows.
    assert found["click"]["window"] == windows[2]["click"]["window"]
    assert found["click"]["lifetime"] == windows[3]["click"]["lifetime"]
    assert found["windows"] == 4


def test_a_stop_changes_nothing(finished, log, tmp_path):
    run_dir = str(tmp_path / "parts")
    for steps in (3, 9, 0):
        options = {"batch_size": 100, "progressive_window_rows": 400}
        options |= {"max_steps": steps, "shuffle_rows": 0}
        assert train(run_dir, log, **options) == 0
    assert (
        report(run_dir)["progressive"]["click"]["lifetime"]
        == (report(finished)["progressive"]["click"]["lifetime"])
    )
    one, other = (
        dict(runs.find_checkpoint(finished, "latest")),
        dict(runs.find_checkpoint(run_dir, "latest")),
    )
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def test_dropout_is_off_while_a_batch_is_scored(log, tmp_path):
    run_dir = str(tmp_path / "run")
    options = {"dropout": 0.4, "batch_size": 300, "max_steps": 1}
    assert train(run_dir, log, shuffle_rows=0, **options) == 0
    (record,) = records(run_dir, "progressive")
    source = ParquetSource([os.path.join(log, "train.parquet")], clicks.SPEC)
    batch = next(source.batches(300))
    losses, weights = losses_of(initial(run_dir), batch)
    assert record["click"]["window"]["logloss"] == pytest.approx(
        losses.sum() / weights.sum(), rel=1e-5
    )


def test_a_baseline_s_last_window_is_compared(finished, log, tmp_path):
    run_dir = str(tmp_path / "other")
    options = {"batch_size": 100, "progressive_window_rows": 400}
    options |= {"compare_runs": finished, "table_learning_rate": 0.05}
    assert train(run_dir, log, shuffle_rows=0, **options) == 0
    found = report(run_dir)["progressive"]
    ours = found["click"]["window"]["logloss"]
    theirs = report(finished)["progressive"]["click"]["window"]["logloss"]
    relative = found["last_window_logloss_percent"]["progressive"]["click"]
    assert relative == pytest.approx(100 * (ours / theirs - 1))


def test_several_epochs_are_refused(log, tmp_path, capsys):
    assert train(str(tmp_path / "run"), log, epochs=2) == 2
    assert "--eval=progressive" in capsys.readouterr().err


def test_files_stay_in_order_and_rows_are_shuffled_within_windows(tmp_path):
    rows = np.arange(1000, dtype=np.int32)
    path = str(tmp_path / "a.parquet")
    pq.write_table(
        pa.table({"row": rows, "label": rows % 2}), path, row_group_size=100
    )
    spec = FeatureSpec.from_dict(
        {"categorical": [{"name": "row", "num_ids": 1000}]}
    )
    source = ParquetSource([path], spec, shuffle_rows=200, in_order=True)
    batches = [batch["row"] for batch in source.batches(200)]
    for number, batch in enumerate(batches):
        assert sorted(batch) == list(range(200 * number, 200 * number + 200))
        assert sorted(batch) != list(batch)


def write_day(folder, day):
    """A csv log whose users grow by day, with a column more on the third."""
    os.makedirs(folder)
    draw = np.random.default_rng(day)
    lines = [["label", "user", "item", *(["device"] if day == 2 else [])]]
    for _ in range(1500):
        user = int(draw.integers(10 * day, 10 * day + 30))
        item = int(draw.integers(0, 20))
        logit = 2 * np.sin(item) + 2 * np.cos(2.0 * user)
        label = int(draw.random() < 1 / (1 + np.exp(-logit)))
        row = [label, f"u{user}", f"i{item}"]
        lines.append(row + ([f"d{user % 3}"] if day == 2 else []))
    with open(os.path.join(folder, "train.csv"), "w") as file:
        for line in lines:
            file.write(",".join(map(str, line)) + "\n")


@pytest.mark.full
def test_three_days(tmp_path, capsys):
    """Each day: prepare with the ids so far, start from the day before."""
    first_window, cold_window = [], []
    for day in range(3):
        write_day(tmp_path / f"log-{day}", day)
        data, run_dir = tmp_path / f"data-{day}", str(tmp_path / f"run-{day}")
        more = [f"--extend={tmp_path / f'data-{day - 1}'}"] if day else []
        if day == 2:
            recipe = json.loads((tmp_path / "data-1/recipe.json").read_text())
            recipe["columns"].append({"name": "device"})
            (tmp_path / "recipe.json").write_text(json.dumps(recipe))
            more.append(f"--recipe={tmp_path / 'recipe.json'}")
        spec, _ = prepared("csv", tmp_path / f"log-{day}", data, *more)
        options = {
            "batch_size": 50,
            "progressive_window_rows": 500,
            "train_files": sorted(str(p) for p in data.glob("train-*")),
            "shuffle_rows": 0,
        }
        start = {"init_from": tmp_path / f"run-{day - 1}"} if day else {}
        capsys.readouterr()
        assert train(run_dir, data, **options, **start) == 0
        said = capsys.readouterr().err
        (user,) = [f for f in spec.categorical if f.name == "user"]
        assert len(user.vocabulary) == 30 + 10 * day
        if day:
            before = FeatureSpec.from_json(
                (tmp_path / f"data-{day - 1}" / "features.json").read_text()
            )
            (old,) = [f for f in before.categorical if f.name == "user"]
            count = len(old.vocabulary)
            assert user.vocabulary[:count] == old.vocabulary
            assert (
                f"table user: {old.num_ids} rows matched, 10 new, 0 dropped"
                in said
            )
        if day == 2:
            assert "table device: 0 rows matched" in said
            assert "matched by features" in said
        window = records(run_dir, "progressive")[0]["click"]["window"]
        first_window.append(window["logloss"])
        cold = str(tmp_path / f"cold-{day}")
        assert train(cold, data, **options) == 0
        window = records(cold, "progressive")[0]["click"]["window"]
        cold_window.append(window["logloss"])
    # What was learned on the days before is worth something at once.
    assert first_window[0] == cold_window[0]
    assert first_window[1] < 0.95 * cold_window[1]
    assert first_window[2] < 0.95 * cold_window[2]


def test_a_start_from_another_model_is_said(finished, log, tmp_path, capsys):
    options = {"init_from": finished, "max_steps": 1, "batch_size": 100}
    options |= {"norm_epsilon": 0.5, "dropout": 0.1, "importance_rows": 0}
    assert train(str(tmp_path / "run"), log, **options) == 0
    (said,) = re.findall(r"warning: .*", capsys.readouterr().err)
    assert said.endswith("scores here: --norm_epsilon was 1.0, is 0.5")


@pytest.mark.full
def test_a_run_goes_on_with_itself_and_not_from_another_again(
    finished, log, tmp_path, capsys
):
    run_dir = str(tmp_path / "run")
    options = {"batch_size": 100, "init_from": finished, "max_steps": 5}
    assert train(run_dir, log, **options) == 0
    assert "starting from" in capsys.readouterr().err
    init = runs.find_checkpoint(run_dir, "latest").state["init"]
    source = runs.find_checkpoint(finished)
    rows = source.state["rows"]
    assert init == {
        "name": os.path.basename(finished),
        "run": runs.read_config(finished)["run"],
        "step": source.step,
        "rows": rows,
    }
    assert train(run_dir, log, **{**options, "max_steps": 8}) == 0
    assert runs.find_checkpoint(run_dir, "latest").state["init"] == init
    assert source.state["init"] == {}
    said = capsys.readouterr().err
    assert "resuming from step 5" in said and "starting from" not in said
    third = str(tmp_path / "third")
    assert train(third, log, **{**options, "init_from": run_dir}) == 0
    trained = rows + runs.find_checkpoint(run_dir).state["rows"]
    found = runs.find_checkpoint(third, "latest").state["init"]
    assert (found["name"], found["rows"]) == ("run", trained)
    assert train(run_dir, log, init_from=run_dir) == 2
    assert "must not be --run_dir" in capsys.readouterr().err
    assert train(str(tmp_path / "x"), log, init_from=tmp_path / "no") == 2
    assert "cannot be read" in capsys.readouterr().err
