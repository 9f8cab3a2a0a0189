"""Runs of MLflow, as its own store shows them."""

import pytest

from tests.trainer.tracking.services import lacks, only_run, params
from trainer.tracking import process
from trainer.tracking.tracker import Start


@pytest.mark.slow
@lacks("mlflow")
def test_mlflow_takes_what_a_user_names(stores, tmp_path, capsys):
    """Long values are cut, odd names changed, changed settings are tags."""

    def track(**parameters):
        made = process.ProcessTracker("mlflow")
        made.start(
            Start("n", "a1", str(tmp_path / "t"), parameters, {"a b/..": "c"})
        )
        for tag in ("valid/klick?/auc", "valid/klick!/auc", "valid/../auc"):
            made.metrics(tag, 1, {tag: 0.5, "valid/é ü/auc": float("nan")})
        made.metrics("all", 1, {f"m{i}": i for i in range(250)})
        made.finish("finished")
        for thread in made.threads:
            thread.join(60)
        return capsys.readouterr().err

    (line,) = track(files="x" * 9000, epochs=1).splitlines()
    assert line.endswith("begins"), line
    folder = only_run(stores)
    text = params(folder)["files"]
    assert len(text) == 6000
    assert text.endswith("x ... (cut, 9000 characters)")
    named = {p.name for p in (folder / "metrics/valid").iterdir()}
    assert {"klick_", "_", "é ü"} <= named
    assert len(list((folder / "metrics/valid/klick_").iterdir())) == 2
    assert len([*(folder / "metrics").glob("m*")]) == 250
    (line,) = track(files="x" * 9000, epochs=2, new=True).splitlines()
    assert line.endswith("resumes"), line
    assert params(folder)["epochs"] == "1"
    assert params(folder)["new"] == "True"
    assert (folder / "tags/resumed.epochs").read_text() == "2"
    # A run that the store no longer has begins anew.
    meta = folder / "meta.yaml"
    meta.write_text(meta.read_text().replace(": active", ": deleted"))
    (line,) = track(files="x").splitlines()
    assert line.endswith("begins"), line
    assert len([*stores.glob("*/*/meta.yaml")]) == 2


@pytest.mark.full
@lacks("mlflow")
def test_runs_may_make_one_store_at_once(stores, tmp_path, monkeypatch, capsys):
    store = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "new")
    made = [process.ProcessTracker("mlflow") for _ in range(3)]
    for index, tracker in enumerate(made):
        folder = str(tmp_path / f"run-{index}")
        tracker.start(Start("n", f"a{index}", folder, {}, {}))
    for tracker in made:
        tracker.finish("finished")
        for thread in tracker.threads:
            thread.join(60)
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[-1] for line in said] == ["begins"] * 3, said
