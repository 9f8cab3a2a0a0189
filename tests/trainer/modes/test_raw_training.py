"""Raw values from Parquet to what is served, one meaning all the way."""

import glob
import json
import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import score
from export.client.encode import Encoder
from tests.export.conftest import exported, run_main
from tests.export.server.running import serving
from tests.trainer.cli import arguments, run
from tests.worlds import raw_clicks
from trainer.data.parquet import ParquetSource

pytestmark = pytest.mark.slow

SMALL = {
    "embedding_dim": 6,
    "num_layers": 1,
    "num_fmb": 3,
    "num_lcb": 3,
    "rank": 3,
    "mlp_units": 12,
    "head_units": 8,
    "bottom_mlp_units": 8,
    "batch_size": 128,
    "epochs": 3,
    "table_learning_rate": 0.2,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return raw_clicks.write_log(str(tmp_path_factory.mktemp("raw")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, folder):
    run_dir = str(tmp_path_factory.mktemp("runs") / "raw")
    options = {"data_dir": folder, "run_dir": run_dir, **SMALL}
    assert run(*arguments(**options)) == 0
    return run_dir


@pytest.fixture(scope="module")
def version(tmp_path_factory, finished):
    output = str(tmp_path_factory.mktemp("versions"))
    exported(finished, output)
    (found,) = glob.glob(os.path.join(output, "[0-9]*"))
    return found


def predicted(finished, path, tmp_path):
    """What `--mode=predict` gives for the rows of a file."""
    output = tmp_path / "scores.parquet"
    options = {
        "mode": "predict",
        "run_dir": finished,
        "predict_files": path,
        "output": output,
    }
    assert run(*arguments(**options)) == 0
    return pq.read_table(output)["logit"].to_numpy()


def requests(rows):
    """Rows of the log as a client logged them: what was encoded is raw."""
    site = ("", None, "other.example", "a.com", "b.org", "c.net")
    return [
        {**row, "site": site[row["site"]], "label": None}
        for row in rows.to_pylist()
    ]


def test_raw_values_are_learned_from(finished):
    with open(os.path.join(finished, "report", "metrics.json")) as file:
        metrics = json.load(file)
    assert metrics["test"]["click"]["auc"] > 0.7


def test_samples_hold_raw_values(finished, folder):
    samples = pq.read_table(os.path.join(finished, "samples.parquet"))
    logged = pq.read_table(os.path.join(folder, "test.parquet"))
    for name in ("city", "user", "item", "seen", "words", "age"):
        assert (
            samples[name].to_pylist()
            == pytest.approx(logged[name].to_pylist(), nan_ok=True)
            if name == "age"
            else (samples[name].to_pylist() == logged[name].to_pylist())
        )
    assert pa.types.is_string(samples["site"].type)
    # Read as requests are, they are the same rows to the model.
    path = os.path.join(finished, "samples.parquet")
    source = ParquetSource([path], raw_clicks.SPEC.as_requests(), labels=False)
    test = os.path.join(folder, "test.parquet")
    known = ParquetSource([test], raw_clicks.SPEC, labels=False)
    one, other = next(source.batches(500)), next(known.batches(500))
    for name, values in other.items():
        np.testing.assert_array_equal(one[name], values, err_msg=name)


def test_a_saved_model_takes_what_was_logged(
    version, finished, folder, tmp_path
):
    """In a process that has TensorFlow alone, against --mode=predict."""
    path = os.path.join(folder, "test.parquet")
    expected = predicted(finished, path, tmp_path)
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps(requests(pq.read_table(path))))
    script = """
import json, sys
import numpy as np
import tensorflow as tf
rows = json.load(open(sys.argv[2]))
model = tf.saved_model.load(sys.argv[1])
serve = model.signatures["serving_default"]
missing = {tf.string: "", tf.int64: -1, tf.float32: np.nan}
columns = {}
for name, spec in serve.structured_input_signature[1].items():
    values = [row[name] for row in rows]
    gap = 0.0 if name == "seen_weights" else missing[spec.dtype]
    if spec.shape.rank == 2:
        size = spec.shape[1]
        values = [v + [gap] * (size - len(v)) for v in values]
    else:
        values = [gap if v is None else v for v in values]
    columns[name] = tf.constant(values, spec.dtype)
assert columns["city"].dtype == tf.string
assert columns["user"].dtype == tf.int64
np.save(sys.argv[3], serve(**columns)["logit"].numpy())
assert not any("keras" in name.split(".")[0] for name in sys.modules
               if name.startswith("wukong"))
"""
    output = tmp_path / "logits.npy"
    command = [sys.executable, "-c", script, version, str(rows), str(output)]
    subprocess.run(command, check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(output), expected, rtol=0, atol=1e-4)


def test_onnx_takes_what_the_encoder_makes(version, finished, folder, tmp_path):
    path = os.path.join(folder, "test.parquet")
    expected = predicted(finished, path, tmp_path)
    encoder = Encoder.from_file(os.path.join(version, "features.json"))
    inputs = encoder.encode(requests(pq.read_table(path)))
    session = onnxruntime.InferenceSession(
        os.path.join(version, "onnx", "model.onnx")
    )
    assert {i.name for i in session.get_inputs()} == set(inputs)
    (logits,) = session.run(["logit"], inputs)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_the_local_server_takes_what_was_logged(
    version, finished, folder, tmp_path, engine
):
    path = os.path.join(folder, "test.parquet")
    expected = predicted(finished, path, tmp_path)
    rows = requests(pq.read_table(path))[:60]
    for row in rows:
        del row["label"]
    with serving(version, engine=engine) as server:
        status, answer = server.post("predict", {"instances": rows})
        assert status == 200, answer
        status, examples = server.post("regress", {"examples": rows})
        assert status == 200, examples
        bad = {**rows[0], "user": "u1"}
        status, refusal = server.post("predict", {"instances": [rows[1], bad]})
        assert status == 400 and "'user', row 1" in refusal["error"]
        # Of a bag that is too long the first four count.
        pair = [{**rows[0], "words": list(text)} for text in ("abcd", "abcde")]
        status, same = server.post("predict", {"instances": pair})
        assert status == 200, same
    first, second = same["predictions"]  # rows of a batch may round apart
    assert first == pytest.approx(second, rel=1e-5)
    logits = [each["logit"] for each in answer["predictions"]]
    np.testing.assert_allclose(logits, expected[:60], rtol=0, atol=1e-4)
    chances = [each["probability"] for each in answer["predictions"]]
    np.testing.assert_allclose(examples["results"], chances, atol=1e-6)


@pytest.mark.parametrize("engine", ["auto", "saved_model"])
def test_files_are_scored(version, finished, folder, tmp_path, engine):
    # ONNX takes files as the trainer does, the SavedModel as requests are.
    path = os.path.join(folder, "test.parquet")
    expected = predicted(finished, path, tmp_path)
    if engine == "saved_model":
        path = os.path.join(finished, "samples.parquet")
    output = tmp_path / "out"
    output.mkdir()
    settings = score.Score(
        version, (path,), str(output), engine=engine, batch_size=77
    )
    score.score(settings)
    found = pq.read_table(output / os.path.basename(path))["logit"].to_numpy()
    expected = expected[: len(found)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_vocabularies_are_assets(version):
    names = os.listdir(os.path.join(version, "assets"))
    assert sorted(names) == [
        "vocabulary_000.txt",
        "vocabulary_001.txt",
        "vocabulary_002.txt",
    ]
    with open(os.path.join(version, "manifest.json")) as file:
        manifest = json.load(file)
    inputs = manifest["signatures"]["serving_default"]["inputs"]
    assert inputs["city"]["dtype"] == "string"
    assert manifest["onnx_inputs"]["onnx"]["city"]["dtype"] == "int64"
    assert manifest["parity"]["raw_values"] == [
        f.name for f in raw_clicks.SPEC.categorical if f.raw
    ]


def test_the_spec_of_ids_has_no_raw_values():
    for feature in raw_clicks.SPEC.as_ids().categorical:
        assert feature.raw is None and feature.vocabulary is None
    sizes = [f.num_ids for f in raw_clicks.SPEC.categorical]
    assert [f.num_ids for f in raw_clicks.SPEC.as_ids().categorical] == sizes


@pytest.mark.full
def test_a_mistaken_encoder_is_seen(finished, tmp_path, monkeypatch):
    """The gate compares all three ways, so one that differs stops it."""
    from export.client import encode

    monkeypatch.setattr(encode, "fingerprint64", lambda data: len(data))
    output = tmp_path / "versions"
    code, _, err = run_main(f"--run_dir={finished}", f"--output={output}")
    assert code == 2 and "nothing is published" in err
    assert not output.exists()
