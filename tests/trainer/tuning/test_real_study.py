"""A study of real runs, two models by two trials."""

import json
from pathlib import Path

import pytest

from tests.programs import call
from tests.trainer import cli
from tests.trainer.tuning import command
from tests.worlds import clicks
from trainer import tune
from trainer.tuning.trial_run import evaluations
from wukong_tf import files, runs

pytestmark = pytest.mark.full
SPACES = {
    "common": "learning_rate = {low = 1e-3, high = 1e-2, log = true}\n"
    "batch_size = {choices = [250, 500]}\nembedding_dim = {choices = [4]}",
    "wukong": "num_layers = {low = 1, high = 2}\nrank = {choices = [2]}",
    "logistic_regression": "",
}


def test_models_are_tuned_and_the_test_split_is_not_read(tmp_path):
    log = clicks.write_log(tmp_path / "log")
    (Path(log) / "test.parquet").write_text("nobody reads this")
    base = [f"--data_dir={log}", "--epochs=2"]
    own = (
        "--models=wukong,logistic_regression",
        f"--output={tmp_path / 'study'}",
        f"--spaces={command.write_spaces(tmp_path / 'spaces', **SPACES)}",
        "--trials=2",
    )
    assert call(tune, *own, trainers=base) == 0
    for model, listed in command.trials(tmp_path).items():
        assert [trial["state"] for trial in listed] == ["complete"] * 2
        for trial in listed:
            run_dir = tmp_path / "study" / model / f"trial-000{trial['trial']}"
            found = evaluations(str(run_dir), "click", "logloss")
            assert trial["evaluations"] == found and len(found) == 2
            assert trial["value"] == min(found)
            config = json.loads((run_dir / runs.CONFIG).read_text())
            assert {*config["data"]} == {"train", "valid"}
            report = json.loads((run_dir / "report/metrics.json").read_text())
            assert "test" not in report
        best = min(listed, key=lambda trial: trial["value"])
        # The flagfile is the trial: with its seed it gives the same values.
        again = tmp_path / f"again-{model}"
        flagfile = tmp_path / "study" / f"{model}.flags"
        for split in ("train", "valid"):
            digest = files.sha256(str(Path(log) / f"{split}.parquet"))
            assert digest in flagfile.read_text()
        code = cli.run(
            f"--flagfile={flagfile}",
            f"--run_dir={again}",
            "--seed=0",
            "--splits=train,valid",
            "--noplots",
        )
        assert code == 0
        found = evaluations(str(again), "click", "logloss")
        assert found == pytest.approx(best["evaluations"], rel=1e-5)
