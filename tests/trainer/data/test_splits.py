"""--splits: splits that are not named are not opened."""

import json
from pathlib import Path

import pytest

from tests.errors import assert_refused
from tests.trainer import cli
from tests.worlds import clicks
from trainer.data.spec import open_features
from trainer.data.splits import open_sources
from trainer.settings import Data, Settings
from wukong_tf import runs


@pytest.fixture
def log(tmp_path):
    """A log whose test file is none."""
    folder = clicks.write_log(tmp_path / "log")
    (Path(folder) / "test.parquet").write_text("nobody reads this")
    return folder


def opened(*args):
    with cli.parsed("--run_dir=R", *args) as values:
        settings = Settings.from_flags(values)
    return [*open_sources(settings, open_features(settings))]


def test_only_the_named_splits_are_opened(log):
    assert opened("--synthetic") == ["train", "valid", "test"]
    for data in (f"--data_dir={log}", "--synthetic"):
        assert opened(data, "--splits=valid,train") == ["train", "valid"]
        assert opened(data, "--mode=eval", "--splits=valid") == ["valid"]


@pytest.mark.parametrize("splits", [(), ("train", "tests")])
def test_others_than_the_three_are_refused(splits):
    assert_refused(
        lambda: Data(splits=splits), "--splits must be some of train,valid,test"
    )


def test_training_needs_its_splits(log):
    for data in (f"--data_dir={log}", "--synthetic"):
        assert_refused(
            lambda data=data: opened(data, "--splits=train"),
            "--mode=train needs valid rows; --splits must have valid; "
            "received train.",
        )
        assert_refused(
            lambda data=data: opened(data, "--splits=valid"),
            "--splits must have train",
        )


@pytest.mark.slow
def test_a_run_without_the_test_split_never_reads_it(log, tmp_path):
    sizes = cli.arguments(**cli.SIZES)
    run_dir = tmp_path / "run"
    flags = [f"--data_dir={log}", f"--run_dir={run_dir}", "--noplots", *sizes]
    assert cli.run(*flags, "--splits=train,valid", "--batch_size=500") == 0
    report = json.loads((run_dir / "report" / "metrics.json").read_text())
    assert "valid" in report and "test" not in report
    assert {*json.loads((run_dir / runs.DATA).read_text())["files"]} == {
        "train",
        "valid",
    }
    held_out = json.loads((run_dir / runs.HELD_OUT).read_text())
    assert held_out["split"] == "valid"
