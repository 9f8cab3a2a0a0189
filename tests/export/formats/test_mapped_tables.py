"""Tables in mapped files: the same scores and versions in less memory."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import wukong_tf
from export.formats import saved_model, tensor_bundle
from export.formats.mapped_session import MappedSession
from export.served.signatures import ServedModel
from tests.errors import assert_refused, message
from tests.export.conftest import exported
from tests.export.formats.test_saved_model import logits_of, served
from tests.worlds import small_models
from tests.worlds.served import columns, make_run, request
from wukong_tf.config import CategoricalFeature, FeatureSpec
from wukong_tf.errors import ExportError
from wukong_tf.runs.arrays import model_slots, read_arrays


def test_a_mapped_model_has_the_same_rows_and_scores(run_dir, tmp_path):
    raw = columns(seed=4)
    model = wukong_tf.load_run(run_dir, map_tables=str(tmp_path))
    files = sorted(os.listdir(tmp_path))
    assert files == sorted(f"{t.plan.name}.rows" for t in model.tables)
    assert len(files) == 2
    assert not any(t.table.trainable for t in model.tables)
    whole = wukong_tf.load_run(run_dir)
    found, expected = (read_arrays(model_slots(m)) for m in (model, whole))
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    np.testing.assert_array_equal(
        np.asarray(model(raw)["click"])[:, 0], logits_of(run_dir, raw)
    )


def test_directories_that_cannot_be_used(run_dir, tmp_path):
    for folder in ("", str(tmp_path / "none"), run_dir + "/config.json"):
        assert_refused(
            lambda folder=folder: wukong_tf.load_run(
                run_dir, map_tables=folder
            ),
            f"map_tables={folder!r}",
            "not a directory",
        )
    assert_refused(
        lambda: wukong_tf.load_run(
            run_dir, map_tables=str(tmp_path), host_tables=["user"]
        ),
        "['user']",
        "all are mapped",
    )
    wukong_tf.load_run(run_dir, map_tables=str(tmp_path))
    assert_refused(
        lambda: wukong_tf.load_run(run_dir, map_tables=str(tmp_path)),
        f"map_tables={str(tmp_path)!r}",
        ".rows already",
    )


def test_another_backend_maps_nothing(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert_refused(
        lambda: wukong_tf.load_run(run_dir, map_tables=str(tmp_path)),
        "`map_tables`",
        "'jax'",
    )


def test_a_version_from_mapped_tables_is_the_same(run_dir, published, tmp_path):
    out = exported(
        run_dir, tmp_path / "out", "--version=7", "--map_tables=always"
    )
    assert f"tables are mapped from files in {tmp_path / 'out'}" in out
    assert "saved_model tf_example" in out and "c_api" not in out
    raw = request(columns(seed=6))
    found = served(str(tmp_path / "out" / "7"))(raw)
    for name, value in served(published)(raw).items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    # Nothing is left of the files.
    assert sorted(os.listdir(tmp_path / "out")) == ["7"]
    never = exported(run_dir, tmp_path / "never", "--format=saved_model")
    assert "tables are mapped" not in never and "c_api" in never


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_reduced_precision_of_mapped_tables(run_dir, tmp_path, precision):
    results = []
    for number, folder in enumerate([None, tmp_path]):
        model = wukong_tf.load_run(run_dir, map_tables=folder and str(folder))
        small = ServedModel(model, None, precision=precision)
        assert not small.table_files
        output = small.serve(request(columns(seed=8)))
        results.append({name: each.numpy() for name, each in output.items()})
        assert len(results) == number + 1
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)


def test_a_table_that_was_not_written_as_it_is(run_dir, tmp_path):
    (tmp_path / "rows").mkdir()
    model = wukong_tf.load_run(run_dir, map_tables=str(tmp_path / "rows"))
    whole = ServedModel(model, str(tmp_path))
    folder = str(tmp_path / "1")
    saved_model.write(whole, folder)
    names = list(whole.table_files)
    assert len(names) == 2
    prefix = os.path.join(folder, "variables", "variables")
    data, offset, size = tensor_bundle.find(prefix, names)[names[1]]
    with open(data, "r+b") as file:
        file.seek(offset + size - 1)
        last = file.read(1)
        file.seek(offset + size - 1)
        file.write(bytes([last[0] ^ 1]))
    path = os.path.basename(whole.table_files[names[1]])
    said = message(
        ExportError,
        lambda: MappedSession(folder, whole.table_files),
    )
    assert "nothing is published" in said and path in said


@pytest.mark.parametrize("count", [1, 3, 700])
def test_tensors_are_found_where_tensorflow_wrote_them(tmp_path, count):
    """In one block of the index, and in many."""
    random = np.random.default_rng(count)
    names = [f"{'long/' * (n % 40)}name {n} é" for n in range(count)]
    values = [
        random.normal(size=(n % 5, 3)).astype(np.float32) for n in range(count)
    ]
    prefix = str(tmp_path / "some variables")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[""] * count,
        tensors=values,
    )
    places = tensor_bundle.find(prefix, names)
    for name, value in zip(names, values, strict=True):
        data, offset, size = places[name]
        with open(data, "rb") as file:
            file.seek(offset)
            assert file.read(size) == value.tobytes(), name
    said = message(ExportError, lambda: tensor_bundle.find(prefix, ["other"]))
    assert "has no tensor 'other'" in said


def test_an_index_of_another_format(tmp_path):
    (tmp_path / "v.index").write_bytes(b"x" * 100)
    prefix = str(tmp_path / "v")
    said = message(ExportError, lambda: tensor_bundle.find(prefix, []))
    assert "v.index" in said and "not a checkpoint's index" in said


ANONYMOUS = """
def anonymous():
    with open("/proc/self/status") as file:
        (line,) = (x for x in file if x.startswith("RssAnon"))
    return 1024 * int(line.split()[1])

"""
EXPORT = """
import sys
from export import flags, main
from absl import flags as absl_flags
from trainer.process import loading

loading.prepare()
loading.load_tensorflow()
from export.formats import signature_session

values = absl_flags.FlagValues()
flags.define(values)
values(["export", *sys.argv[1:]])
sizes = [anonymous()]
run = signature_session.SignatureSession.run
def measured(self, *args, **kwargs):
    result = run(self, *args, **kwargs)
    sizes.append(anonymous())
    return result
signature_session.SignatureSession.run = measured
assert main.run(["export"], values) == 0
print("grown by", max(sizes) - sizes[0])
"""
LOAD = """
import sys, warnings
import pyarrow.parquet as pq
import wukong_tf
import keras

warnings.simplefilter("error", UserWarning)
before = anonymous()
model = wukong_tf.load_run(sys.argv[1], map_tables=sys.argv[2])
rows = pq.read_table(sys.argv[1] + "/samples.parquet")
assert len(model.predict_rows(rows)["click"]) == len(rows)
print("grown by", anonymous() - before)
"""


def grown(code, *arguments) -> int:
    """Bytes by which a process grows, as far as they are its own."""
    done = subprocess.run(
        [sys.executable, "-c", ANONYMOUS + code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split("grown by ")[1])


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_table_is_not_in_memory(tmp_path):
    """Processes grow by less than half of the tables' bytes."""
    spec = FeatureSpec((CategoricalFeature("item", 5_000_000, oov_id=0),))
    config = small_models.wukong(
        spec, embedding_dim=32, rank=1, mlp_units=(8,), head_units=(6,)
    )
    run_dir = make_run(str(tmp_path / "run"), config)
    (tmp_path / "rows").mkdir()
    exporting = grown(
        EXPORT,
        f"--run_dir={run_dir}",
        f"--output={tmp_path / 'out'}",
        "--format=saved_model",
        "--map_tables=always",
    )
    loading = grown(LOAD, run_dir, str(tmp_path / "rows"))
    assert max(exporting, loading) < 4 * 5_000_000 * 32 / 2
