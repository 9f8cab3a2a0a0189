"""The SavedModel, read by other ways than the exporter's own."""

import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.saved_model import fingerprinting_utils

import wukong_tf
from export.formats import c_api, signature_session
from export.served import tf_examples
from tests.worlds.served import SPEC, columns, request
from wukong_tf.runs.arrays import model_slots, read_arrays


def logits_of(run_dir, raw, **kwargs):
    """The run's logits by the Keras model."""
    model = wukong_tf.load_run(run_dir, **kwargs)
    return np.asarray(model(raw)["click"])[:, 0]


def served(published):
    loaded = tf.saved_model.load(published)

    def score(raw):
        outputs = loaded.signatures["serving_default"](
            **{name: tf.constant(value) for name, value in raw.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    return score


def test_equals_the_trainer_s_lookup(run_dir, published):
    raw = columns(seed=11)
    want = logits_of(run_dir, raw, lookup="tfrs")
    got = served(published)(request(raw))
    assert np.std(want) > 0.01
    np.testing.assert_allclose(got["logit"], want, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        got["probability"], 1 / (1 + np.exp(-want.astype(float))), atol=1e-5
    )


def test_v1_session_replay(run_dir, published):
    raw = columns(rows=9, seed=12)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], published)
        signature = meta.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        feed = {
            signature.inputs[name].name: value
            for name, value in request(raw).items()
        }
        fetch = {name: out.name for name, out in signature.outputs.items()}
        got = session.run(fetch, feed)
    assert set(got) == {"probability", "logit"}
    np.testing.assert_allclose(
        got["logit"], logits_of(run_dir, raw), rtol=0, atol=1e-5
    )


def test_methods_and_defaults(published, tmp_path):
    session = signature_session.SignatureSession(published)
    methods = {
        name: each.method.rpartition("/")[2]
        for name, each in session.signatures.items()
        if not name.startswith("__")
    }
    assert methods == {
        "serving_default": "predict",
        "tf_example": "predict",
        "regress": "regress",
        "classify": "classify",
    }
    defaults = session.signatures["serving_default"].defaults
    assert {n: v.shape for n, v in defaults.items()} == {
        "price": (0,),
        "age": (0,),
    }
    # The fingerprint is that of the file as it was finished.
    copied = str(shutil.copytree(published, tmp_path / "7"))
    fingerprinting_utils.write_fingerprint(copied)
    told, want = map(
        tf.saved_model.experimental.read_fingerprint, (published, copied)
    )
    assert told.signature_def_hash == want.signature_def_hash
    assert told.graph_def_program_hash == want.graph_def_program_hash


def test_every_signature_has_a_free_batch(published):
    session = signature_session.SignatureSession(published)
    for name, signature in session.signatures.items():
        if name.startswith("__"):
            continue
        for infos in (signature.inputs, signature.outputs):
            for _, _, shape in infos.values():
                assert shape[0] is None, name


def test_the_c_interface_loads_and_refuses_by_name(run_dir, published):
    raw = columns(rows=9, seed=12)
    known = signature_session.read_signatures(published)
    run = c_api.Session(published, known).run
    got = run("serving_default", request(raw))["logit"]
    np.testing.assert_allclose(got, logits_of(run_dir, raw), rtol=0, atol=1e-5)
    classes = run(
        "classify", {"inputs": [tf_examples.serialize(SPEC, row_of(raw))]}
    )["classes"]
    assert classes.tolist() == [[b"0", b"1"]]
    bad = request(raw)
    bad["item"][3] = 20
    with pytest.raises(tf.errors.InvalidArgumentError, match="item"):
        run("serving_default", bad)
    with pytest.raises(tf.errors.NotFoundError):
        c_api.Session(os.path.join(published, "onnx"), known)


def row_of(raw):
    return {name: value[0].tolist() for name, value in request(raw).items()}


def test_an_example_without_what_is_needed_is_refused(published):
    row = row_of(columns(rows=1))
    del row["item"]
    session = signature_session.SignatureSession(published)
    texts = np.array([tf_examples.serialize(SPEC, row)], object)
    with pytest.raises(tf.errors.InvalidArgumentError, match="item"):
        session.run("regress", {"inputs": texts})


def test_every_canonical_array_is_in_the_variables(run_dir, published):
    prefix = os.path.join(published, "variables", "variables")
    stored = [
        tf.train.load_variable(prefix, name)
        for name, _ in tf.train.list_variables(prefix)
        if name.endswith("VARIABLE_VALUE")
    ]
    model = wukong_tf.load_run(run_dir)
    weights = {id(weight) for weight in model.weights}
    slots = [s for s in model_slots(model) if id(s.variable) in weights]
    assert {"tables/user", "tables/things", "tables/site"} <= {
        slot.name for slot in slots
    }
    for slot, value in zip(slots, read_arrays(slots).values(), strict=True):
        first = slot.rows[0] if slot.rows else 0
        assert any(
            array[first:][: len(value)].shape == value.shape
            and np.array_equal(array[first:][: len(value)], value)
            for array in stored
            if array.ndim == value.ndim
        ), slot.name


def test_nothing_of_the_trainer_s_lookup_is_inside(published):
    with open(os.path.join(published, "saved_model.pb"), "rb") as file:
        content = file.read()
    assert b"serving_default" in content
    # "output" and "input" hold no such word.
    words = rb"(?i)(?<!ou)(?<!in)tpu|recommenders|TPUEmbedding"
    assert re.findall(words, content) == []
    assert re.findall(words, b"input output TPUEmbedding") == [b"TPU"]


def test_nothing_is_compiled_by_xla(published):
    from tensorflow.core.protobuf import saved_model_pb2

    with open(os.path.join(published, "saved_model.pb"), "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    functions = proto.meta_graphs[0].graph_def.library.function
    assert functions
    for function in functions:
        assert not function.attr["_XlaMustCompile"].b


@pytest.mark.parametrize("bad", [-1, 20, -(2**63), 2**63 - 1])
def test_an_id_without_oov_id_is_refused_by_name(published, bad):
    raw = request(columns(rows=3))
    raw["other"][1] = bad
    with pytest.raises(tf.errors.InvalidArgumentError, match="other.*20"):
        served(published)(raw)


def test_an_id_out_of_range_is_read_as_the_oov_id(published):
    raw = request(columns(rows=4))
    replaced = {**raw, "user": np.full(4, 2), "site": np.full(4, 0)}
    raw["user"] = np.array([-1, 11, -(2**63), 2**63 - 1])
    raw["site"] = np.array([7, -7, 2**40, -(2**40)])
    score = served(published)
    assert np.array_equal(score(raw)["logit"], score(replaced)["logit"])
