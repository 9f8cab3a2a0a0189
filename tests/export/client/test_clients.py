"""Both clients against a stand-in that runs the signatures in a session."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from export.client.grpc_client import GrpcClient
from export.client.rest import RestClient
from export.client.retry import ServerError
from export.served import tf_examples
from tests.export import stand_in
from tests.export.formats.test_saved_model import logits_of
from tests.worlds.served import SPEC, columns, request


@pytest.fixture(scope="module")
def server(published):
    with stand_in.running(published, "model", 7) as found:
        yield found


@pytest.fixture
def rest(server):
    with RestClient(server[0], "model", retries=3, backoff_s=0.01) as client:
        yield client


@pytest.fixture
def over_grpc(server):
    with GrpcClient(server[1], "model", retries=3, backoff_s=0.01) as client:
        yield client


@pytest.fixture(autouse=True)
def healthy(server):
    faults = server[2]
    faults.failing, faults.state, faults.asked = 0, "AVAILABLE", 0
    faults.seen.clear()
    return faults


def rows_of(raw):
    """Columns as rows of plain values."""
    lists = {name: value.tolist() for name, value in request(raw).items()}
    rows = zip(*lists.values(), strict=True)
    return [dict(zip(lists, row, strict=True)) for row in rows]


def test_rows_and_columns_give_the_run_s_scores(rest, over_grpc, run_dir):
    raw = columns(seed=51)
    want = logits_of(run_dir, raw)
    by_row = [each["logit"] for each in rest.predict(rows_of(raw))]
    lists = {name: value.tolist() for name, value in request(raw).items()}
    by_column = rest.predict_columns(lists)["logit"]
    got = over_grpc.predict(request(raw))["logit"]
    for logits in (by_row, by_column, got):
        np.testing.assert_allclose(logits, want, rtol=0, atol=1e-5)


def test_examples_with_a_context_give_the_run_s_scores(rest, run_dir):
    raw = columns(rows=5, seed=52)
    raw["user"][:] = raw["user"][0]
    examples = rows_of(raw)
    context = {"user": examples[0]["user"]}
    for each in examples:
        del each["user"]
    want = 1 / (1 + np.exp(-logits_of(run_dir, raw).astype(float)))
    got = rest.regress(examples, context)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    classes = rest.classify(examples, context)
    assert [name for name, _ in classes[0]] == ["0", "1"]
    np.testing.assert_allclose([c[1][1] for c in classes], want, atol=1e-5)


def test_many_rows_go_in_several_requests(server, healthy, run_dir):
    raw = columns(rows=23, seed=53)
    want = logits_of(run_dir, raw)
    with RestClient(server[0], "model", max_rows=10) as client:
        got = [each["logit"] for each in client.predict(rows_of(raw))]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    with GrpcClient(server[1], "model", max_rows=10) as client:
        found = client.predict(request(raw))["logit"]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)
    assert [rows for _, rows in healthy.seen] == [10, 10, 3] * 2


def test_what_may_be_retried_is(rest, over_grpc, healthy):
    rows = rows_of(columns(rows=2))
    healthy.failing = 3
    assert len(rest.predict(rows)) == 2
    healthy.failing = 3
    assert len(over_grpc.predict(request(columns(rows=2)))["logit"]) == 2
    healthy.failing = 4  # one more than there are attempts
    with pytest.raises(ServerError, match="503: not now") as caught:
        rest.predict(rows)
    assert caught.value.code == 503
    healthy.failing = 4
    with pytest.raises(ServerError, match="UNAVAILABLE: not now"):
        over_grpc.predict(request(columns(rows=2)))


def test_a_refusal_is_told_and_not_retried(rest, over_grpc, healthy):
    raw = columns(rows=2)
    raw["item"][1] = 20
    with pytest.raises(ServerError, match="(?s)400: .*item") as caught:
        rest.predict(rows_of(raw))
    assert caught.value.code == 400
    with pytest.raises(ServerError, match="(?s)INVALID_ARGUMENT.*item"):
        over_grpc.predict(request(raw))
    assert healthy.seen == []
    assert healthy.asked == 2


def test_ready_goes_by_the_state_and_not_by_the_answer(
    server, rest, over_grpc, healthy
):
    assert rest.ready() and over_grpc.ready()
    healthy.state = "LOADING"
    assert not rest.ready() and not over_grpc.ready()
    for client in (rest, over_grpc):
        with pytest.raises(ServerError, match="after 0.1 s"):
            client.wait_until_ready(0.1, every_s=0.05)
    later = threading.Timer(0.2, setattr, (healthy, "state", "AVAILABLE"))
    later.start()
    rest.wait_until_ready(10, every_s=0.05)
    over_grpc.wait_until_ready(10, every_s=0.05)


def test_a_version_can_be_named(server):
    rows = rows_of(columns(rows=1))
    for how in ({"version": 7}, {"label": "stable"}):
        with RestClient(server[0], "model", **how) as client:
            assert len(client.predict(rows)) == 1
    with RestClient(server[0], "model", version=8) as client:
        with pytest.raises(ServerError, match="404"):
            client.predict(rows)


def test_arrays_and_bytes_can_be_sent(rest, run_dir):
    raw = columns(rows=3, seed=54)
    got = rest.predict_columns(request(raw))["logit"]
    np.testing.assert_allclose(got, logits_of(run_dir, raw), atol=1e-5)
    texts = [tf_examples.serialize(SPEC, row) for row in rows_of(raw)]
    found = rest.predict(texts, signature="tf_example")
    np.testing.assert_allclose([f["logit"] for f in found], got, atol=1e-6)
    with pytest.raises(TypeError, match="set"):
        rest.predict([{"user": {1}}])


def test_columns_must_have_as_many_rows(over_grpc):
    raw = request(columns(rows=3))
    raw["item"] = raw["item"][:2]
    with pytest.raises(ValueError, match="'item': 2"):
        over_grpc.predict(raw)


def test_the_generated_requests_are_answered(published, server, rest, run_dir):
    place = os.path.join(published, "examples")
    answers = {}
    for name in ("predict_rows", "predict_columns", "regress", "classify"):
        with open(os.path.join(place, f"{name}.json")) as file:
            body = json.load(file)
        verb = "predict" if name.startswith("predict") else name
        path = f"/v1/models/model:{verb}"
        answers[name] = rest._post(verb, body, rest._ends())
        assert path.endswith(verb)
    logits = [r["logit"] for r in answers["predict_rows"]["predictions"]]
    assert logits == answers["predict_columns"]["outputs"]["logit"]
    want = [r["probability"] for r in answers["predict_rows"]["predictions"]]
    np.testing.assert_allclose(answers["regress"]["results"], want, atol=1e-6)
    scores = [row[1][1] for row in answers["classify"]["results"]]
    np.testing.assert_allclose(scores, want, atol=1e-6)


@pytest.mark.slow
def test_the_generated_scripts_run(published, server):
    place = os.path.join(published, "examples")
    rest_address, grpc_address, _ = server
    script = os.path.join(place, "grpc_predict.py")
    done = subprocess.run(
        [sys.executable, script, grpc_address],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=os.path.dirname(published),
    )
    assert done.returncode == 0, done.stderr
    assert "probability [" in done.stdout
    done = subprocess.run(
        ["sh", os.path.join(place, "curl.sh"), rest_address],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "not found" in done.stderr:
        pytest.skip("curl is not installed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("predictions") == 1
    assert done.stdout.count("results") == 2
