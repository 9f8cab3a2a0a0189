"""Whole runs with other optimizers, schedules and parts of batches."""

import json

import numpy as np
import pytest

from tests import tiers
from tests.trainer.cli import arguments, run
from tests.trainer.modes.test_train import SMALL
from tests.worlds import clicks
from wukong_tf import runs

# Options, and steps at which the run is stopped.
RUNS = {
    "schedule_free": ({"dense_optimizer": "schedule_free"}, (7, 13)),
    "muon": (
        {
            "dense_optimizer": "muon",
            "weight_decay": 1e-2,
            "learning_rate_schedule": "cosine",
            "gradient_accumulation_steps": 2,
        },
        (7, 13),
    ),
    "lion": (
        {
            "dense_optimizer": "lion",
            "weight_decay": 1e-2,
            "learning_rate": 3e-2,
            "learning_rate_schedule": "plateau",
            "plateau_factor": 0.5,
            "eval_every_steps": 2,
        },
        (6, 14),
    ),
    "adam_tables": (
        {
            "table_optimizer": "adam",
            "table_learning_rate": 1e-2,
            "embedding_l2": 1e-2,
            "embedding_l2_scope": "all",
        },
        (7, 13),
    ),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return clicks.write_log(str(tmp_path_factory.mktemp("log")))


@pytest.fixture(scope="module")
def train(log):
    def train(run_dir, **options):
        options = {"data_dir": log, "run_dir": run_dir, **SMALL, **options}
        return run(*arguments(**options))

    return train


@pytest.fixture(scope="module")
def finished(train, tmp_path_factory):
    """A finished run of each kind, made when it is asked for."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("runs") / kind
            assert train(made[kind], **RUNS[kind][0]) == 0
        return made[kind]

    return of


def records(run_dir, kind):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == kind]


@pytest.mark.full
@pytest.mark.parametrize("kind", RUNS)
def test_a_stop_changes_nothing(kind, finished, train, tmp_path):
    options, stops = RUNS[kind]
    for steps in (*stops, 0):
        assert train(tmp_path / "run", **options, max_steps=steps) == 0
    whole, parts = (
        runs.find_checkpoint(each, "latest")
        for each in (finished(kind), tmp_path / "run")
    )
    assert set(whole) == set(parts)
    for name, array in dict(whole).items():
        np.testing.assert_array_equal(array, parts[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", tiers.first(RUNS))
def test_the_saved_weights_are_those_that_were_evaluated(
    kind, finished, log, tmp_path
):
    run_dir, output = finished(kind), tmp_path / "eval.json"
    options = {"mode": "eval", "run_dir": run_dir, "data_dir": log}
    assert run(*arguments(**options, output=output)) == 0
    report = json.loads((run_dir / "report" / "metrics.json").read_text())
    assert json.loads(output.read_text())["test"]["click"] == pytest.approx(
        report["test"]["click"], rel=1e-6
    )
    valid = [each["click"]["logloss"] for each in records(run_dir, "valid")]
    assert min(valid) < np.log(2)
    assert report["valid"]["click"]["logloss"] == pytest.approx(min(valid))


@pytest.mark.full
def test_rates_follow_their_schedule(finished):
    steps = {}
    for kind in ("muon", "lion"):
        steps[kind] = {
            each["step"]: each["learning_rate"]
            for each in records(finished(kind), "train")
        }
    for step, rate in steps["muon"].items():
        left = (24 - (step - 1)) / (24 - SMALL["warmup_steps"])
        if step > SMALL["warmup_steps"]:
            expected = 1e-3 * np.sin(np.pi / 2 * left) ** 2
            assert rate == pytest.approx(expected, rel=1e-5)
    bests = [
        each["best"]
        for each in runs.find_checkpoint(finished("lion"), "latest").state[
            "evaluations"
        ]
    ]
    assert not all(bests)
    # The rate of the last step is set by the evaluations before it.
    fallen = 3e-2 * 0.5 ** bests[:-1].count(False)
    assert steps["lion"][24] == pytest.approx(fallen)


@pytest.mark.slow
def test_slots_of_another_optimizer_are_refused(
    finished, train, tmp_path, capsys
):
    first = finished("schedule_free")
    options = {"init_from": first, "max_steps": 2}
    assert train(tmp_path / "a", **options, init_optimizer=True) == 2
    assert "slots of schedule_free" in capsys.readouterr().err
    tables = {"table_optimizer": "adam", "dense_optimizer": "schedule_free"}
    assert train(tmp_path / "a", **options, **tables, init_optimizer=True) == 2
    error = capsys.readouterr().err
    assert "slots of rowwise_adagrad" in error
    assert "--table_optimizer must be the same" in error
    # Without the slots, training starts from the averages.
    rates = {"learning_rate": 1e-12, "table_learning_rate": 1e-12}
    for kind in ("adam", "schedule_free"):
        run_dir = tmp_path / kind
        assert (
            train(
                run_dir,
                **{**options, **rates, "init_optimizer": False},
                dense_optimizer=kind,
            )
            == 0
        )
        old = runs.find_checkpoint(first, "best")
        for name, array in dict(
            runs.find_checkpoint(run_dir, "latest")
        ).items():
            if name.startswith("dense/") and array.dtype == np.float32:
                np.testing.assert_allclose(
                    array, old[name], atol=1e-5, err_msg=name
                )


def test_what_needs_evaluations_needs_valid_rows(log, tmp_path, capsys):
    options = {
        **SMALL,
        "train_files": f"{log}/train*.parquet",
        "features": f"{log}/features.json",
        "run_dir": tmp_path / "run",
        "eval": "progressive",
        "epochs": 1,
    }
    for changes, flag in (
        ({"patience": 2}, "--patience"),
        ({"learning_rate_schedule": "plateau"}, "schedule=plateau"),
    ):
        assert run(*arguments(**options, **changes)) == 2
        assert f"{flag} needs valid rows" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_of_before_had_the_defaults(train, tmp_path, capsys):
    """Its config.json lacks the settings that are new."""
    assert train(tmp_path / "run", max_steps=2) == 0
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    for key in ("dense_optimizer", "weight_decay", "learning_rate_schedule"):
        del config["training"][key]
    del config["model"]["fmb_activation"]
    path.write_text(json.dumps(config))
    assert train(tmp_path / "run", max_steps=4, fmb_activation="relu") == 2
    said = capsys.readouterr().err
    assert "model.fmb_activation was linear, is relu" in said
    options = {"max_steps": 4, "dense_optimizer": "lion"}
    assert train(tmp_path / "run", **options) == 2
    assert "dense_optimizer was adam, is lion" in capsys.readouterr().err
    assert train(tmp_path / "run", max_steps=4) == 0
