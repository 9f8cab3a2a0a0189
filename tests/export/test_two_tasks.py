"""A model of two tasks through every signature, the server and files."""

import dataclasses
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import score
from tests.export.client.test_clients import rows_of
from tests.export.conftest import exported
from tests.export.server.running import serving
from tests.worlds.logs import as_table
from tests.worlds.served import (
    CONFIG,
    SPEC,
    columns,
    make_run,
)
from wukong_tf.config import Task

pytestmark = pytest.mark.slow

TASKS = (Task(), Task("order", "ordered", negative_rate=0.5))


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    spec = dataclasses.replace(SPEC, tasks=TASKS)
    config = dataclasses.replace(CONFIG, features=spec)
    run_dir = make_run(str(folder / "run"), config)
    exported(run_dir, f"{folder}/model", "--version=3")
    return str(folder / "model" / "3")


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_each_task_has_its_own_scores(version, engine):
    rows = rows_of(columns(rows=4, seed=8))
    with serving(version, engine=engine) as server:
        _, answer = server.post("predict", {"instances": rows})
        found = answer["predictions"]
        assert set(found[0]) == {
            f"{task}_{kind}"
            for task in ("click", "order")
            for kind in ("probability", "logit")
        }
        for task in ("click", "order"):
            want = [each[f"{task}_probability"] for each in found]
            body = {"signature_name": f"{task}_regress", "examples": rows}
            _, answer = server.post("regress", body)
            np.testing.assert_allclose(answer["results"], want, atol=1e-6)
            body["signature_name"] = f"{task}_classify"
            _, answer = server.post("classify", body)
            scores = [row[1][1] for row in answer["results"]]
            np.testing.assert_allclose(scores, want, atol=1e-6)
        # Without a name the first task answers.
        _, answer = server.post("regress", {"examples": rows})
        want = [each["click_probability"] for each in found]
        np.testing.assert_allclose(answer["results"], want, atol=1e-6)


def test_files_have_the_scores_of_both(version, tmp_path):
    path = str(tmp_path / "rows.parquet")
    raw = columns(rows=12, seed=8)
    pq.write_table(as_table(raw), path)
    output = tmp_path / "out"
    output.mkdir()
    score.score(score.Score(version, (path,), str(output)))
    table = pq.read_table(output / "rows.parquet")
    assert table.column_names == [
        "click_probability",
        "click_logit",
        "order_probability",
        "order_logit",
    ]
    assert table.schema.types == [pa.float32()] * 4


def test_examples_name_each_task_s_signature(version):
    names = os.listdir(os.path.join(version, "examples"))
    assert {
        "click_regress.json",
        "click_classify.json",
        "order_regress.json",
        "order_classify.json",
    } <= set(names)
