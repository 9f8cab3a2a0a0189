"""One context and many candidates, in one request."""

import os

import numpy as np
import pytest

from export.formats.signature_session import RequestError, SignatureSession
from export.served.signatures import ServedModel
from tests.export.conftest import exported
from tests.export.formats.test_saved_model import logits_of
from tests.export.server.running import serving
from tests.worlds.served import columns, random_model, request
from wukong_tf.errors import ExportError

pytestmark = pytest.mark.slow

CONTEXT = ("user", "other", "age")


@pytest.fixture(scope="module")
def with_candidates(run_dir, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("candidates") / "model")
    out = exported(
        run_dir,
        output,
        f"--context_features={','.join(CONTEXT)}",
        "--version=5",
    )
    assert "saved_model candidates" in out
    return os.path.join(output, "5")


def one_context(rows=9, seed=91):
    raw = columns(rows=rows, seed=seed)
    for name in CONTEXT:
        raw[name][:] = raw[name][0]
    return raw


def shared(raw):
    columns_ = request(raw)
    return {n: v[:1] if n in CONTEXT else v for n, v in columns_.items()}


def test_the_scores_are_those_of_whole_rows(with_candidates, run_dir):
    raw = one_context()
    session = SignatureSession(with_candidates)
    got = session.run("candidates", shared(raw))["logit"]
    np.testing.assert_allclose(got, logits_of(run_dir, raw), atol=1e-5)
    # A row of context for each candidate is taken too.
    got = session.run("candidates", request(raw))["logit"]
    np.testing.assert_allclose(got, logits_of(run_dir, raw), atol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "saved_model"])
def test_the_local_server_takes_them(with_candidates, run_dir, engine):
    raw = one_context(rows=30)
    lists = {name: value.tolist() for name, value in shared(raw).items()}
    body = {"signature_name": "candidates", "inputs": lists}
    with serving(with_candidates, engine=engine, max_rows=8) as server:
        status, answer = server.post("predict", body)
        assert status == 200, answer
        status, refusal = server.post(
            "predict", {"signature_name": "candidates", "instances": []}
        )
        assert status == 400 and "'user'" in refusal["error"]
    want = logits_of(run_dir, raw)
    np.testing.assert_allclose(answer["outputs"]["logit"], want, atol=1e-5)


@pytest.mark.parametrize(
    "context, match",
    [
        (("user", "nobody"), "the input 'nobody' does not exist"),
        (
            ("user", "item", "other", "site", "price", "age", "content"),
            "names all inputs",
        ),
    ],
)
def test_a_wrong_context_is_refused(context, match):
    with pytest.raises(ExportError, match=match):
        ServedModel(random_model(), context=context)


def test_absent_inputs_are_missing_and_others_are_named(
    with_candidates, run_dir
):
    raw = columns(rows=5, seed=92)
    raw["price"][:] = np.nan
    columns_ = request(raw)
    del columns_["price"]
    session = SignatureSession(with_candidates)
    got = session.run("serving_default", columns_)["logit"]
    np.testing.assert_allclose(got, logits_of(run_dir, raw), atol=1e-5)
    del columns_["item"]
    with pytest.raises(RequestError, match=r"missing: \['item'\]"):
        session.run("serving_default", columns_)


def test_columns_of_unequal_rows_are_refused_by_name(with_candidates):
    import tensorflow as tf

    columns_ = request(columns(rows=5))
    columns_["age"] = columns_["age"][:3]
    session = SignatureSession(with_candidates)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="same number of rows"
    ):
        session.run("serving_default", columns_)
