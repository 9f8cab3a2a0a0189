"""Tables in less than float32: what they hold, weigh and cost."""

import os

import numpy as np
import pytest

from export.formats import saved_model
from export.formats.onnx import model as onnx_model
from export.proof import parity, quality
from export.served import tables
from export.served.signatures import ServedModel
from tests import tiers
from tests.export.conftest import run_main
from tests.export.test_main import refused, tree
from tests.worlds.logs import as_table
from tests.worlds.served import (
    CONFIG,
    LOGISTIC,
    SPEC,
    columns,
    make_run,
    random_model,
    samples,
)
from trainer.data.held_out import describe
from trainer.data.parquet import ParquetSource
from wukong_tf import runs
from wukong_tf.config import CategoricalFeature, FeatureSpec, WukongConfig
from wukong_tf.errors import ExportError

pytestmark = pytest.mark.slow


def test_rows_come_back_within_half_a_step():
    (layer, *_) = random_model().tables
    exact = np.asarray(layer.table)
    layer.table.assign(np.where(np.arange(len(exact)) == 3, 0, exact.T).T)
    exact = np.asarray(layer.table)
    kept = tables.store(layer, "int8")
    assert kept["rows"].dtype == np.int8
    assert kept["scale"].shape == (len(exact), 1)
    gap = np.abs(kept["rows"] * kept["scale"] - exact)
    assert np.all(gap <= 0.5001 * kept["scale"])
    assert np.all(kept["rows"][3] == 0)
    assert np.abs(kept["rows"]).max() == 127
    half = tables.store(layer, "float16")["rows"]
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, exact, rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize(
    "precision, config",
    tiers.first(
        [
            ("int8", CONFIG),
            ("int8", LOGISTIC),
            ("float16", LOGISTIC),
            ("float16", CONFIG),
        ],
        3,
    ),
)
def test_every_artifact_reads_the_same_rows(precision, config, tmp_path):
    narrow = precision == "int8" and config is LOGISTIC
    served = ServedModel(
        random_model(config), str(tmp_path), precision=precision
    )
    folder = str(tmp_path / "1")
    saved_model.write(served, folder)
    onnx_model.write(served, folder)
    artifacts = saved_model.load(served, folder)
    artifacts += onnx_model.load(served, folder)
    report = parity.compare(served, samples(), artifacts)
    report.check()
    # And they are not the checkpoint's, but where int8 would be no smaller.
    full = ServedModel(random_model(config))
    gap = parity.compare(full, samples(), artifacts)
    smallest = min(v for v in gap.logit.values() if v is not None)
    assert (smallest > 1e-5) is not narrow


@pytest.mark.parametrize("precision, share", [("float16", 0.51), ("int8", 0.3)])
@pytest.mark.full
def test_bytes_at_width_64(precision, share, tmp_path):
    spec = FeatureSpec((CategoricalFeature("item", 20_000, oov_id=0),))
    model = random_model(WukongConfig(spec, embedding_dim=64, rank=1))
    sizes = {}
    for each in ("float32", precision):
        served = ServedModel(model, str(tmp_path), precision=each)
        for name, module in (
            ("variables/variables.data-00000-of-00001", saved_model),
            ("onnx/model.onnx", onnx_model),
        ):
            folder = str(tmp_path / f"{each} {module.NAME}")
            module.write(served, folder)
            size = os.path.getsize(os.path.join(folder, name))
            sizes.setdefault(module.NAME, []).append(size)
    table = 20_000 * 64 * 4
    for full, small in sizes.values():
        assert (full - small) / table >= 1 - share


def labelled(run_dir, model, rows=4000):
    """A file of rows whose labels follow the model's logits."""
    import pyarrow.parquet as pq

    raw = columns(rows=rows, seed=81)
    score = quality.scorer_from_model(ServedModel(model), stored=False)
    ids = {
        name: value.astype(np.int64) if value.dtype == np.int32 else value
        for name, value in raw.items()
        if name in SPEC.feature_names
    }
    logits = score(ids)["click"]
    random = np.random.default_rng(82)
    chances = 1 / (1 + np.exp(-5 * (logits - logits.mean())))
    raw["label"] = (random.random(rows) < chances).astype(np.float32)
    path = os.path.join(run_dir, "test.parquet")
    pq.write_table(as_table(raw), path)
    return path


@pytest.fixture(scope="module")
def run_with_rows(tmp_path_factory):
    """A run, and the file that it held out."""
    run_dir = make_run(str(tmp_path_factory.mktemp("gates") / "run"))
    path = labelled(run_dir, random_model(seed=10))
    return run_dir, path


def export(run_dir, output, *args):
    return run_main(f"--run_dir={run_dir}", f"--output={output}", *args)


def test_the_gate_prints_and_keeps_its_figures(run_with_rows, tmp_path):
    import json

    run_dir, path = run_with_rows
    code, out, error = export(
        run_dir,
        tmp_path / "out",
        "--tables=int8",
        "--onnx_dense=int8",
        f"--eval_data={path}",
        "--max_auc_change=0.05",
        "--max_ne_change=0.05",
        "--max_logit_change=1",
        "--version=3",
    )
    assert code == 0, error
    assert "on 4,000 held-out rows" in out
    manifest = json.loads((tmp_path / "out/3/manifest.json").read_text())
    assert manifest["precision"] == {
        "tables": "int8",
        "dense": "float32",
        "onnx_dense": "int8",
    }
    changes = manifest["smaller_forms"]["changes"]
    assert set(changes) == {"saved_model", "onnx"}
    for form in changes.values():
        figures = form["click"]
        assert 0.5 < figures["auc_float32"] < 1
        assert 0 < figures["logit_change"] < 1
        assert figures["auc"] - figures["auc_float32"] == pytest.approx(
            figures["auc_change"]
        )


@pytest.mark.parametrize("which", tiers.first(["auc", "ne", "logit"]))
def test_a_change_over_its_limit_publishes_nothing(
    run_with_rows, tmp_path, which
):
    run_dir, path = run_with_rows
    limits = {"auc": "1", "ne": "1", "logit": "10", which: "1e-9"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("as it was")
    error = refused(
        str(tmp_path / "out"),
        f"--run_dir={run_dir}",
        "--tables=int8",
        "--format=saved_model",
        f"--eval_data={path}",
        *(f"--max_{name}_change={limit}" for name, limit in limits.items()),
    )
    assert f"--max_{which}_change allows 1e-09" in error
    assert error.count("allows") == 1


@pytest.mark.full
def test_the_run_s_own_held_out_rows_are_the_default(run_with_rows, tmp_path):
    import json

    run_dir, path = run_with_rows
    content = describe("test", ParquetSource([path], SPEC))
    assert content == {"split": "test", "files": [path]}
    held_out = os.path.join(run_dir, runs.HELD_OUT)
    args = (run_dir, tmp_path / "out", "--tables=float16")
    code, _, error = export(*args)
    assert code == 2 and "--eval_data" in error and runs.HELD_OUT in error
    assert tree(tmp_path / "out") == {}
    with open(held_out, "w") as file:
        json.dump(content, file)
    code, out, error = export(*args)
    assert code == 0 and "on 4,000 held-out rows" in out, error
    os.remove(held_out)


def test_the_dense_file_is_held_to_the_gate_too(run_with_rows, tmp_path):
    run_dir, path = run_with_rows
    error = refused(
        str(tmp_path / "out"),
        f"--run_dir={run_dir}",
        "--onnx_dense=int8",
        "--format=onnx_dense",
        f"--eval_data={path}",
        "--max_ne_change=1e-9",
        "--max_auc_change=1",
        "--max_logit_change=2",
    )
    assert "onnx_dense, click: the change of NE" in error


def test_int8_products_need_a_format_that_has_them(run_with_rows, tmp_path):
    error = refused(
        str(tmp_path / "out"),
        f"--run_dir={run_with_rows[0]}",
        "--onnx_dense=int8",
        "--format=saved_model",
    )
    assert "--onnx_dense=int8 needs an ONNX format" in error


def test_rows_of_one_class_tell_no_auc(run_with_rows):
    run_dir, path = run_with_rows
    served = ServedModel(random_model())

    class Source:
        def batches(self, size):
            yield {**columns(), "label": np.ones(40, np.float32)}

    with pytest.raises(ExportError, match="both classes"):
        quality.measure(served, {}, Source(), quality.Limits(1, 1, 1))


def test_metrics_are_the_trainer_s():
    from wukong_tf.config import Task
    from wukong_tf.metrics import of_scalars, scalar_sums

    random = np.random.default_rng(4)
    labels = (random.random(500) < 0.3).astype(np.float32)
    logits = random.normal(size=500).astype(np.float32)
    weights = random.random(500).astype(np.float32)
    task = Task("click", "label", negative_rate=0.25)
    missing = labels.copy()
    missing[:7] = np.nan
    found = quality.metrics(task, missing, logits, weights)
    known = weights[7:] * np.where(labels[7:] == 0, 4.0, 1.0)
    sums = scalar_sums(labels[7:], logits[7:], known)
    want = of_scalars({name: np.asarray(v) for name, v in sums.items()})
    assert found["ne"] == pytest.approx(want["ne"], rel=1e-9)
