"""From a log with empty parts to a run, and its scores of tomorrow's file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.trainer.cli import arguments
from tests.trainer.cli import run as train
from tests.trainer.preparation.command import prepared, rows

pytestmark = pytest.mark.slow

SMALL = {
    "rank": 2,
    "num_layers": 1,
    "num_fmb": 2,
    "num_lcb": 2,
    "mlp_units": 8,
    "head_units": 8,
    "embedding_dim": 4,
    "batch_size": 100,
}


def log(count, seed):
    """Integers, a number with gaps and labels that follow the integers."""
    draw = np.random.default_rng(seed)
    user = draw.integers(-3, 20, count)
    item = draw.integers(0, 9, count)
    logit = 2 * np.sin(item) + 2 * np.cos(2.0 * user)
    label = draw.random(count) < 1 / (1 + np.exp(-logit))
    price = np.where(
        draw.random(count) < 0.2, np.nan, draw.exponential(9, count)
    )
    return pa.table(
        {
            "label": label,
            "user": user,
            "item": item,
            "price": pa.array(price, from_pandas=True),
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a log whose valid file and first part hold no rows."""
    folder = tmp_path_factory.mktemp("first")
    source = folder / "in"
    source.mkdir()
    whole = log(3000, 0)
    for name, part in (
        ("train-0", whole.slice(0, 0)),
        ("train-1", whole),
        ("valid", whole.slice(0, 0)),
        ("test", log(500, 1)),
    ):
        pq.write_table(part, source / f"{name}.parquet")
    columns = [
        {"name": "user"},
        {"name": "item"},
        {"name": "price", "kind": "numeric", "missing": 4.0},
    ]
    path = folder / "recipe.json"
    path.write_text(json.dumps({"columns": columns}))
    prepared("parquet", source, folder / "data", f"--recipe={path}")
    options = {"data_dir": folder / "data", "run_dir": folder / "run"}
    assert train(*arguments(**SMALL, **options)) == 0
    return folder


def predicted(finished, files, output):
    options = {
        "mode": "predict",
        "run_dir": finished / "run",
        "predict_files": files,
        "output": output,
    }
    assert train(*arguments(**options)) == 0
    return pq.read_table(output)


def test_a_valid_file_without_rows_does_not_end_training(finished):
    report = finished / "run" / "report" / "metrics.json"
    found = json.loads(report.read_text())
    assert found["test"]["click"]["auc"] > 0.75


def test_a_new_file_gets_the_scores_that_its_rows_had(finished, tmp_path):
    """The test rows again, without labels, as text and as Parquet."""
    table = log(500, 1).drop_columns("label")
    pq.write_table(table, tmp_path / "tomorrow.parquet")
    names = table.column_names[::-1]
    lines = [
        ",".join("" if row[name] is None else str(row[name]) for name in names)
        for row in table.to_pylist()
    ]
    text = "\n".join([",".join(names), *lines]) + "\n"
    (tmp_path / "tomorrow.csv").write_text(text)
    before = sorted((finished / "data").glob("test-*.parquet"))
    want = predicted(finished, before, tmp_path / "want.parquet")
    assert want.num_rows == 500
    # A run notes what its data were made with.
    for kind, earlier in (("csv", "data"), ("parquet", "run")):
        output = tmp_path / kind
        option = f"--vocabularies={finished / earlier}"
        prepared(kind, tmp_path / f"tomorrow.{kind}", output, option)
        found = predicted(
            finished,
            sorted(output.glob("*.parquet")),
            tmp_path / f"{kind}.parquet",
        )
        assert found.equals(want)


@pytest.mark.full
def test_runs_evaluate_and_train_on_new_files(finished, tmp_path, capsys):
    """The test metrics of the same rows, and a run that goes on from one."""
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(log(500, 1), source / "days.parquet")
    pq.write_table(log(800, 5), source / "train.parquet")
    output = tmp_path / "out"
    option = f"--vocabularies={finished / 'data'}"
    _, manifest = prepared("parquet", source, output, option)
    assert manifest["rows"] == {"train": 800, "valid": 0, "test": 500}
    assert rows(output, "test")["label"] == [
        int(label) for label in log(500, 1)["label"].to_pylist()
    ]
    capsys.readouterr()
    options = {"mode": "eval", "run_dir": finished / "run", "data_dir": output}
    assert train(*arguments(**options)) == 0
    found = json.loads(capsys.readouterr().out)
    report = finished / "run" / "report" / "metrics.json"
    want = json.loads(report.read_text())["test"]
    assert found["test"]["click"]["auc"] == pytest.approx(
        want["click"]["auc"], abs=1e-6
    )
    options = {"data_dir": output, "run_dir": tmp_path / "run"}
    options |= {"init_from": finished / "run", "eval": "progressive"}
    files = sorted(output.glob("train-*.parquet"))
    capsys.readouterr()
    assert train(*arguments(**SMALL, train_files=files, **options)) == 0
    said = capsys.readouterr().err
    assert "0 new, 0 dropped" in said
