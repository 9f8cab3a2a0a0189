"""A run and a version of wukong_tf 0.1.0, made before its rooms were moved.

before.tar.xz holds a raw log, its preparation, a run that was stopped after 6
of 16 steps, its predictions and its published version.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import wukong_tf
from export import flags as export_flags
from export import main as export_main
from export import score
from tests.programs import call
from tests.trainer import cli
from tests.trainer.preparation import command
from wukong_tf import runs
from wukong_tf.runs.checkpoint import find_checkpoint

pytestmark = pytest.mark.slow
ARCHIVE = Path(__file__).with_suffix("").parent / "before.tar.xz"


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("before")
    # Python has filters since 3.11.4.
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, **safe)
    return folder


def test_the_log_is_prepared_as_it_was(before, tmp_path):
    code, _, error = command.run(
        "csv",
        before / "log",
        tmp_path / "data",
        f"--vocabularies={before / 'run'}",
    )
    assert code == 0, error
    for split in ("train", "valid", "test"):
        (old,) = (before / "data").glob(f"{split}-*.parquet")
        (new,) = (tmp_path / "data").glob(f"*{split}*.parquet")
        assert pl.read_parquet(new).equals(pl.read_parquet(old)), split


def test_the_run_scores_rows_as_it_did(before, tmp_path):
    expected = pl.read_parquet(before / "predictions.parquet")
    rows = pl.read_csv(before / "log" / "test.csv").with_columns(
        pl.col("tags").fill_null("").str.split(" ").list.drop_nulls()
    )
    (found,) = (
        wukong_tf.load_run(str(before / "run")).predict_rows(rows).values()
    )
    np.testing.assert_allclose(found, expected["probability"], atol=1e-6)


def test_the_version_scores_files_as_the_run_does(before, tmp_path):
    path = before / "log" / "test.csv"
    for engine in ("onnx", "saved_model"):
        output = tmp_path / engine
        assert (
            call(
                score,
                f"--model={before / 'clicks' / '1'}",
                f"--input={path}",
                f"--output={output}",
                f"--engine={engine}",
            )
            == 0
        )
        (scores,) = output.glob("*.parquet")
        expected = pl.read_parquet(before / "predictions.parquet")
        np.testing.assert_allclose(
            pl.read_parquet(scores)["probability"],
            expected["probability"],
            atol=1e-6,
        )


@pytest.mark.full
def test_the_run_is_resumed_and_exported(before, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(before / "run", run_dir)
    content = json.loads((run_dir / "config.json").read_text())
    model = {
        name: value
        for name, value in content["model"].items()
        if name in ("embedding_dim", "num_layers", "num_fmb", "num_lcb", "rank")
    }
    sizes = cli.arguments(
        **model,
        mlp_units=4,
        head_units=4,
        bottom_mlp_units=4,
        batch_size=32,
        epochs=2,
        eval_every_steps=3,
        # The defaults of its time.
        norm_epsilon=1e-5,
        learning_rate=0.001,
        table_learning_rate=0.05,
    )
    code = cli.run(
        f"--data_dir={before / 'data'}", f"--run_dir={run_dir}", *sizes
    )
    assert code == 0
    assert find_checkpoint(str(run_dir), "latest").step == 16
    steps = [step for step, _ in runs.checkpoint_paths(str(run_dir))]
    assert min(steps) > 0
    output = tmp_path / "clicks"
    shutil.copytree(before / "clicks", output)
    code = call(
        export_main,
        f"--run_dir={run_dir}",
        f"--output={output}",
        "--version=2",
        "--format=onnx",
        define=export_flags.define,
    )
    assert code == 0
    assert (output / "1").is_dir() and (output / "2" / "onnx").is_dir()
