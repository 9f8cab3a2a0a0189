"""Flags that contradict each other, and data that are not there."""

import importlib
import json

import pytest

from tests.trainer.cli import arguments, run


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, ["--mode=train needs --run_dir"]),
        ({"run_dir": "r"}, ["no data", "--data_dir", "--synthetic"]),
        (
            {"run_dir": "r", "synthetic": True, "data_dir": "d"},
            ["--synthetic contradicts --data_dir"],
        ),
        (
            {"run_dir": "r", "data_dir": "d", "synthetic_seed": 1},
            ["--synthetic_seed", "--synthetic is not set"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "synthetic_ids": 9},
            ["--synthetic_ids contradicts --synthetic_log=polynomial"],
        ),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "synthetic_log": "interactions",
                "synthetic_tasks": "click,conversion",
            },
            ["--synthetic_tasks contradicts --synthetic_log=interactions"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "output": "o"},
            ["--output contradicts --mode=train"],
        ),
        ({"run_dir": "r", "mode": "predict"}, ["--predict_files", "--output"]),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "model": "logistic_regression",
                "rank": 3,
            },
            ["--rank contradicts --model=logistic_regression"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "mlp_units": "64,big"},
            ["--mlp_units must hold integers", "64,big"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "fm": "attention"},
            ["--fm must", "projected", "attentive"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "num_fmb": "8,8"},
            ["--num_fmb must", "3 layers"],
        ),
        (
            {"mode": "plan", "synthetic": True, "rank": 64},
            ["--rank of layer 0 must be at most 10, the number of"],
        ),
        (
            {"mode": "plan", "synthetic": True, "preset": "internal_5gf"},
            ["preset 'internal_5gf' does not exist", "internal_5.6gf"],
        ),
        (
            {
                "mode": "plan",
                "synthetic": True,
                "preset": "internal_5.6gf",
                "model": "fm",
            },
            ["--preset=internal_5.6gf contradicts --model=fm"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "units": "users:2"},
            ["--units must name some of", "'user'", "received 'users'"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "table_l2s": "users:1"},
            ["--table_l2s must name some of the tables", "'user'", "'users'"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "table_learning_rates": "1"},
            ["--table_learning_rates must hold NAME:FLOAT", "'1'"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "units": "user"},
            ["--units must hold NAME:INT", "'user'"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "unit_dropout": 0.5},
            ["--unit_dropout=0.5 needs a feature with several units"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "negative_rate": 0},
            ["`negative_rate` must be in (0, 1]", "received 0"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "negative_rate": "buy:0.5"},
            ["--negative_rate must name some of ['click']", "'buy'"],
        ),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "synthetic_tasks": "click,conversion",
                "negative_rate": 0.5,
            },
            ["--negative_rate must be TASK:NUMBER"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "synthetic_tasks": "buy"},
            ["`tasks` must be", "'buy'"],
        ),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "early_stopping_task": "buy",
            },
            ["--early_stopping_task must be one of ['click']", "'buy'"],
        ),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "table_optimizer": "adam",
                "table_placement": "auto",
            },
            ["--table_placement=replicated", "received auto"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "keep_units": "2"},
            ["--keep_units contradicts --mode=train"],
        ),
        (
            {
                "run_dir": "r",
                "synthetic": True,
                "remat": True,
                "dropout": 0.5,
            },
            ["--remat needs --dropout=0", "--dropout=0.5"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "remat": True, "model": "mlp"},
            ["--remat contradicts --model=mlp"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "remove": "lcb,residual"},
            ["--remove must not name both", "'linear_path'"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "learning_rate": 0},
            ["--learning_rate must be above 0"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "embedding_l2": -1},
            ["--embedding_l2 must be at least 0"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "compare_runs": "nowhere"},
            ["--compare_runs=nowhere has no report"],
        ),
        (
            {"run_dir": "r", "synthetic": True, "mode": "eval", "output": "."},
            ["--output=.: must be a file, but is a directory"],
        ),
        (
            {"run_dir": "r", "data_dir": "nowhere"},
            ["nowhere/features.json", "No such file"],
        ),
    ],
)
def test_refused(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    importlib.import_module("trainer.report.importance")  # loads TensorFlow
    capsys.readouterr()
    assert run(*arguments(**options)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    for word in words:
        assert word in said, said
    assert list(tmp_path.iterdir()) == []


def test_group_auc_needs_a_group(capsys, tmp_path):
    from tests.worlds import clicks

    folder = clicks.write_log(str(tmp_path / "log"))
    spec = clicks.SPEC.to_dict()
    del spec["group"]
    path = tmp_path / "features.json"
    path.write_text(json.dumps(spec))
    options = {
        "run_dir": str(tmp_path / "run"),
        "data_dir": folder,
        "features": str(path),
        "early_stopping_metric": "group_auc",
    }
    assert run(*arguments(**options)) == 2
    assert "group_auc needs a group column" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_missing_split(capsys, tmp_path):
    import os

    from tests.worlds import clicks

    folder = clicks.write_log(str(tmp_path / "log"))
    os.remove(os.path.join(folder, "valid.parquet"))
    options = {"run_dir": str(tmp_path / "run"), "data_dir": folder}
    assert run(*arguments(**options)) == 2
    assert "needs valid rows" in capsys.readouterr().err
