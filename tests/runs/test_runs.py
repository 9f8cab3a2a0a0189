"""A run directory read back as a trained model."""

import shutil

import numpy as np
import pytest

import wukong_tf
from tests.worlds import small_models, small_runs
from tests.worlds.small_runs import scores
from trainer.checkpoints import store
from wukong_tf import runs
from wukong_tf.config import (
    FactorizationMachineConfig,
    LogisticRegressionConfig,
)
from wukong_tf.errors import ConfigError, RunError, WukongError
from wukong_tf.models import LogisticRegression
from wukong_tf.runs.arrays import model_slots, read_arrays


def test_load_run_takes_the_checkpoint_that_is_named(run_dir):
    names = {"latest": 10, 1: 1, "2": 2, "best": 10}
    for name, step in names.items():
        loaded = wukong_tf.load_run(run_dir, name)
        np.testing.assert_array_equal(
            scores(loaded), scores(small_runs.make(step))
        )
    store.mark_best(run_dir, 1, "logloss", 0.4)
    assert runs.best_step(run_dir) == 1
    for loaded in (
        wukong_tf.load_run(run_dir),
        wukong_tf.load_run(str(run_dir)),
    ):
        np.testing.assert_array_equal(
            scores(loaded), scores(small_runs.make(1))
        )
    assert runs.find_checkpoint(run_dir).state == {"of": 1}


def test_load_run_in_another_precision_and_lookup(pristine):
    loaded = wukong_tf.load_run(
        pristine, "latest", lookup="tfrs", dtype="mixed_bfloat16"
    )
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    names = {type(table.lookup).__name__ for table in loaded.tables}
    assert names == {"TFRSLookup"}
    exact = scores(small_runs.make(10))
    assert np.abs(scores(loaded) - exact).max() < 0.05 * np.abs(exact).max()


def test_load_run_of_a_logistic_regression(tmp_path):
    config = LogisticRegressionConfig(small_models.SPEC)
    model = small_models.make(config)
    small_runs.write_run(tmp_path, config, {3: model})
    loaded = wukong_tf.load_run(tmp_path)
    assert isinstance(loaded, LogisticRegression)
    np.testing.assert_array_equal(scores(loaded), scores(model))


@pytest.mark.parametrize("name", [3, "3", "newest", -1])
def test_a_checkpoint_that_is_not_there_is_refused(pristine, name):
    with pytest.raises(RunError, match=rf"{name}.*\[1, 2, 10\]"):
        wukong_tf.load_run(pristine, name)


def test_a_run_without_checkpoints_is_refused(run_dir):
    shutil.rmtree(run_dir / runs.CHECKPOINTS)
    with pytest.raises(RunError, match="the run has no checkpoint yet"):
        wukong_tf.load_run(run_dir)


def test_no_run_directory_is_refused(tmp_path):
    with pytest.raises(RunError, match="absent"):
        wukong_tf.load_run(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (runs.CONFIG, "{"),
        (runs.CONFIG, "[]"),
        (runs.CONFIG, "{}"),
        (runs.CONFIG, '{"format": 99, "model": {}}'),
        (runs.CONFIG, '{"format": 1}'),
        (runs.CONFIG, '{"format": 1, "model": 3}'),
        (runs.CONFIG, '{"format": 1, "model": {}, "run": [1]}'),
        (runs.CONFIG, '{"format": 1, "model": {"model": "other"}}'),
        (runs.FEATURES, "{"),
        (runs.FEATURES, '{"categorical": 3}'),
        (f"{runs.CHECKPOINTS}/{runs.BEST}", "{"),
        (f"{runs.CHECKPOINTS}/{runs.BEST}", "[]"),
        (f"{runs.CHECKPOINTS}/{runs.BEST}", "{}"),
        (f"{runs.CHECKPOINTS}/{runs.BEST}", '{"step": "x"}'),
        (f"{runs.CHECKPOINTS}/{runs.BEST}", '{"step": null}'),
    ],
)
def test_a_spoilt_file_of_the_run_is_an_error_of_ours(run_dir, name, text):
    (run_dir / name).write_text(text)
    with pytest.raises(WukongError) as error:
        wukong_tf.load_run(run_dir)
    assert isinstance(error.value, RunError | ConfigError)


def test_a_spec_of_other_tables_does_not_take_the_checkpoint(run_dir):
    text = (run_dir / runs.FEATURES).read_text()
    assert '"num_ids": 13' in text
    (run_dir / runs.FEATURES).write_text(
        text.replace('"num_ids": 13', '"num_ids": 14')
    )
    with pytest.raises(RunError, match=r"'tables/user'.*\(14, 6\).*\(13, 6\)"):
        wukong_tf.load_run(run_dir)


def test_the_flag_of_units_is_read():
    read = runs.parse_keep_units
    assert read([]) is None
    assert read(["2"]) == 2
    assert read(["user:1", "a:b:3"]) == {"user": 1, "a:b": 3}
    for texts in (["two"], ["user:"], ["2", "3"], ["a:1", "a:2"]):
        with pytest.raises(ConfigError, match="--keep_units") as refused:
            read(texts)
        assert ",".join(texts) in str(refused.value)


def test_a_cut_run_has_the_first_columns_of_its_tables(tmp_path):
    config = FactorizationMachineConfig(small_models.RICH, embedding_dim=4)
    model = small_models.make(config)
    small_runs.write_run(tmp_path, config, {3: model})
    loaded = wukong_tf.load_run(tmp_path, keep_units=2)
    whole, cut = (read_arrays(model_slots(each)) for each in (model, loaded))
    assert whole["tables/user"].shape == (13, 3 * 5)
    for name, array in whole.items():
        expected = array[:, : 2 * 5] if name == "tables/user" else array
        np.testing.assert_array_equal(cut[name], expected, err_msg=name)
