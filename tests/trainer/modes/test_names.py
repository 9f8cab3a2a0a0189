"""Runs of columns and tasks of any names, resumed and started from."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tests.trainer.cli import SIZES, arguments, run
from tests.worlds import logs
from wukong_tf import runs
from wukong_tf.config import (
    CategoricalFeature,
    FeatureSpec,
    NumericFeature,
    Task,
)

SPEC = FeatureSpec(
    (
        CategoricalFeature("价格", 20, embedding_dim=2),
        CategoricalFeature("城市", 20, embedding_dim=2),
        CategoricalFeature("numeric", 20),
        CategoricalFeature("_more_0", 20),
    ),
    (NumericFeature("_global_rows"), NumericFeature("a\nb")),
    tasks=(
        Task("价格", "logit:购 买"),
        Task("购 买", "_place"),
        Task("$x^{", "x" * 300),
    ),
    weight="it's",
    group="group",
)
OPTIONS = {**SIZES, "epochs": 2, "batch_size": 64}


def table(rows, seed):
    draw = np.random.default_rng(seed)
    ids = {f.name: draw.integers(0, 20, rows) for f in SPEC.categorical}
    columns = {name: value.astype(np.int32) for name, value in ids.items()}
    columns |= {f.name: draw.normal(size=rows) for f in SPEC.numeric}
    for turn, task in enumerate(SPEC.tasks):
        chance = np.sin(ids["价格"] + turn) * np.cos(ids["城市"] * turn)
        drawn = draw.random(rows) < 0.5 + 0.4 * chance
        columns[task.label] = drawn.astype(np.int8)
    columns |= {"it's": np.ones(rows), "group": draw.integers(0, 9, rows)}
    return logs.as_table(columns)


def data(folder, spec):
    return logs.write_log(folder, spec, table, {"train": 500, "valid": 200})


@pytest.mark.full
def test_a_run_of_any_names_goes_to_its_end_and_starts_another(tmp_path):
    folder, run_dir = tmp_path / "data", tmp_path / "run"
    data(folder, SPEC)
    options = arguments(data_dir=folder, run_dir=run_dir, **OPTIONS)
    assert run(*options, pictures=True) == 0
    assert run(*options) == 0  # goes on from its end
    report = json.loads((run_dir / "report" / "metrics.json").read_text())
    assert set(report["valid"]) == {task.name for task in SPEC.tasks}
    assert all(v["rows"] == 200 for v in report["valid"].values())
    tags = {
        value.tag
        for events in (run_dir / "tensorboard").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {f"valid/{task.name}/auc" for task in SPEC.tasks} <= tags

    output = tmp_path / "scores.parquet"
    files = arguments(
        mode="predict",
        run_dir=run_dir,
        predict_files=folder / "valid.parquet",
        output=output,
    )
    assert run(*files) == 0
    scores = pq.read_table(output).to_pydict()
    inputs = {
        name: np.array(column)
        for name, column in pq.read_table(folder / "valid.parquet")
        .to_pydict()
        .items()
    }
    model = runs.load_run(str(run_dir))
    logits = model({name: inputs[name] for name in SPEC.feature_names})
    for task, want in logits.items():
        np.testing.assert_allclose(
            scores[f"{task}_logit"], np.asarray(want)[:, 0], atol=1e-4
        )

    turned = dataclasses.replace(
        SPEC,
        categorical=SPEC.categorical[::-1],
        numeric=SPEC.numeric[::-1],
        tasks=SPEC.tasks[::-1],
    )
    other = tmp_path / "other"
    again = arguments(
        data_dir=data(tmp_path / "turned", turned),
        run_dir=other,
        init_from=run_dir,
        learning_rate=1e-9,
        table_learning_rate=1e-9,
        **OPTIONS,
    )
    assert run(*again) == 0
    found = json.loads((other / "report" / "metrics.json").read_text())
    for task, values in report["valid"].items():
        gap = found["valid"][task]["logloss"] - values["logloss"]
        assert abs(gap) < 1e-4, task
