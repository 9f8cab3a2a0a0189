"""The ways of raw rows to a score: each returns logits by task."""

from pathlib import Path
from unittest import mock

import keras
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq

import wukong_tf
from export.client.encode import Encoder
from export.flags import Export
from export.formats import saved_model
from export.formats.onnx import model as onnx_model
from export.proof.parity import Report
from export.served import naming, signatures
from export.served.requests import raw_columns
from export.version import manifest, publish
from tests.export.server.running import serving
from tests.properties.logs import Row
from tests.trainer.cli import arguments
from tests.trainer.cli import run as train
from tests.worlds import served, small_runs
from wukong_tf import runs
from wukong_tf.config import FeatureSpec, ModelConfig

Scores = dict[str, np.ndarray]


def make_run(config: ModelConfig, seed: int, folder: Path) -> str:
    """A run directory with one checkpoint of random weights."""
    run_dir = folder / "run"
    models = {1: served.random_model(config, seed=seed)}
    small_runs.write_run(run_dir, config, models)
    return str(run_dir)


def table(spec: FeatureSpec, rows: list[Row]) -> pa.Table:
    """Raw rows as the files hold them that a spec is trained on."""
    return pa.table(
        {
            name: pa.array([row[name] for row in rows], kind)
            for name, kind in _types(spec).items()
        }
    )


def _types(spec):
    found: dict[str, pa.DataType] = {}
    kinds = {"string": pa.string(), "float": pa.float32()}
    for feature in spec.categorical:
        kind = kinds.get(feature.raw or "", pa.int64())
        found[feature.name] = pa.list_(kind) if feature.pooling else kind
        if feature.weights:
            found[feature.weights] = pa.list_(pa.float32())
    for numeric in spec.numeric:
        found[numeric.name] = pa.float64()
    for vector in spec.vector:
        found[vector.name] = pa.list_(pa.float32())
    return found


def predict(run_dir: str, rows: pa.Table, folder: Path) -> Scores:
    """By `--mode=predict`."""
    path, output = folder / "rows.parquet", folder / "scores.parquet"
    pq.write_table(rows, path)
    code = train(
        *arguments(
            mode="predict",
            run_dir=run_dir,
            predict_files=str(path),
            output=str(output),
            on_bad_value="count",
            max_bad_fraction=1.0,
        )
    )
    assert code == 0
    spec = runs.read_features(run_dir)
    found = pq.read_table(output)
    one = len(spec.tasks) == 1
    return {
        task.name: found["logit" if one else f"{task.name}_logit"].to_numpy()
        for task in spec.tasks
    }


def version(run_dir: str, folder: Path) -> Path:
    """A published version, in both formats, of the default signature."""
    model = wukong_tf.load_run(run_dir)
    settings = Export(run_dir=run_dir, output=f"{folder}/model")
    (folder / "words").mkdir()
    with publish.draft(settings.output, 1) as draft:
        served = signatures.ServedModel(model, str(folder / "words"))
        one = {naming.PREDICT: served.serve}
        # The others are wrapped around it, and take most of the time.
        with mock.patch.object(
            signatures.ServedModel, "functions", lambda _: one
        ):
            saved_model.write(served, draft.path)
            onnx_model.write(served, draft.path)
            content = manifest.describe(
                served,
                runs.find_checkpoint(run_dir),
                Report(0, 0, (), (), (), {}, {}, {}, ()),
                ["saved_model", "onnx"],
                None,
                settings,
            )
        manifest.write_features(served.spec, draft)
        manifest.write(content, run_dir, draft)
    return Path(draft.final)


def of_rows(run_dir: str, rows: list[Row], raw: pa.Table) -> dict[str, Scores]:
    """Probabilities by `predict_rows`, of rows in each form that it takes."""
    model = wukong_tf.load_run(run_dir)
    forms = {
        "predict_rows, dicts": rows,
        "predict_rows, Arrow": raw,
        "predict_rows, lists": raw.to_pydict(),
        "predict_rows, polars": polars.from_arrow(raw),
    }
    return {name: model.predict_rows(form) for name, form in forms.items()}


def of_model(run_dir: str, path: Path, rows: list[Row]) -> Scores:
    """By a call of the loaded model, from the client's encoder."""
    model = wukong_tf.load_run(run_dir)
    encoder = Encoder.from_file(str(path / runs.FEATURES))
    found = model.served_logits(model(encoder.encode(rows)))
    return {
        task: keras.ops.convert_to_numpy(value)[:, 0]
        for task, value in found.items()
    }


def of_version(
    path: Path, spec: FeatureSpec, rows: list[Row], raw: pa.Table
) -> dict[str, Scores]:
    """By each engine of a version: over REST, and without a server."""
    found = {}
    encoder = Encoder.from_file(str(path / runs.FEATURES))
    for name in ("saved_model", "onnx"):
        with serving(path.parent, engine=name) as server:
            body = {"instances": _sent(rows)}
            status, answer = server.post("predict", body)
            engine = server.versions.current.engine
            if name == "onnx":
                direct = engine.run_ids(encoder.encode(rows))
            else:
                columns = raw_columns(spec, raw)
                direct = engine.run(naming.PREDICT, columns)
        assert status == 200, answer
        answered = {
            output: np.array([row[output] for row in answer["predictions"]])
            for output in direct
        }
        found[name] = logits(spec, direct)
        found[f"{name}, served"] = logits(spec, answered)
    return found


def _sent(rows):
    """Rows as JSON, what is missing left out."""
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in rows
    ]


def logits(spec: FeatureSpec, outputs) -> Scores:
    """The logits of a signature's outputs, held to its probabilities."""
    found = {}
    for task, (probability, logit) in naming.output_names(spec).items():
        found[task] = np.asarray(outputs[logit], np.float64)
        np.testing.assert_allclose(
            outputs[probability],
            0.5 * (1 + np.tanh(found[task] / 2)),
            atol=1e-6,
        )
    return found
