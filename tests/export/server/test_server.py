"""The local server: its answers, its refusals, and what it tells."""

import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.server import responses
from tests.export.client.test_clients import rows_of
from tests.export.formats.test_saved_model import logits_of
from tests.export.server.running import serving
from tests.worlds.served import columns, request

ROW = rows_of(columns(rows=1))[0]


@pytest.fixture(scope="module", params=["onnx", "saved_model"])
def server(published, request):
    with serving(os.path.dirname(published), engine=request.param) as found:
        yield found


def changed(**values):
    return {**ROW, **values}


def without(name):
    return {key: value for key, value in ROW.items() if key != name}


def test_scores_are_the_run_s(server, run_dir):
    # More rows than one computation takes.
    raw = columns(rows=150, seed=61)
    want = logits_of(run_dir, raw)
    status, answer = server.post("predict", {"instances": rows_of(raw)})
    assert status == 200
    by_row = [each["logit"] for each in answer["predictions"]]
    lists = {name: value.tolist() for name, value in request(raw).items()}
    status, answer = server.post("predict", {"inputs": lists}, "/versions/7")
    assert status == 200
    for logits in (by_row, answer["outputs"]["logit"]):
        np.testing.assert_allclose(logits, want, rtol=0, atol=1e-5)


def test_requests_at_the_same_time_get_their_own_rows(server, run_dir):
    sizes = [1, 4, 2, 7, 3, 1, 5, 90, 2, 6]
    asked = [columns(rows=size, seed=90 + size) for size in sizes]
    wanted = [logits_of(run_dir, raw) for raw in asked]
    with ThreadPoolExecutor(len(sizes)) as clients:
        for _ in range(3):
            bodies = [{"instances": rows_of(raw)} for raw in asked]
            answers = clients.map(server.post, ["predict"] * 10, bodies)
            for (status, answer), want in zip(answers, wanted, strict=True):
                assert status == 200
                got = [each["logit"] for each in answer["predictions"]]
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_regress_and_classify(server, run_dir):
    raw = columns(rows=4, seed=62)
    raw["user"][:] = raw["user"][0]
    want = 1 / (1 + np.exp(-logits_of(run_dir, raw).astype(float)))
    body = {
        "examples": [
            {k: v for k, v in row.items() if k != "user"}
            for row in rows_of(raw)
        ],
        "context": {"user": int(raw["user"][0])},
    }
    status, answer = server.post("regress", body)
    assert status == 200
    np.testing.assert_allclose(answer["results"], want, rtol=0, atol=1e-5)
    status, answer = server.post("classify", body)
    assert status == 200
    for row, value in zip(answer["results"], want, strict=True):
        assert [name for name, _ in row] == ["0", "1"]
        assert row[0][1] + row[1][1] == pytest.approx(1)
        assert row[1][1] == pytest.approx(value, abs=1e-5)


def test_a_missing_number_is_read_as_missing(server, run_dir):
    raw = columns(rows=3, seed=63)
    raw["price"][:] = np.nan
    want = logits_of(run_dir, raw)
    left_out = [
        {k: v for k, v in row.items() if k != "price"} for row in rows_of(raw)
    ]
    null = [{**row, "price": None} for row in left_out]
    lists = {n: v.tolist() for n, v in request(raw).items() if n != "price"}
    for body in ({"instances": left_out}, {"instances": null}):
        _, answer = server.post("predict", body)
        got = [each["logit"] for each in answer["predictions"]]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    _, answer = server.post("predict", {"inputs": lists})
    got = answer["outputs"]["logit"]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_no_rows_are_answered(server):
    assert server.post("predict", {"instances": []}) == (
        200,
        {"predictions": []},
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", ["not valid JSON"]),
        (b"[" * 100_000, ["not valid JSON"]),
        (b"[1]", ["JSON object", "list"]),
        (b"\xff\xfe", ["not valid JSON"]),
        ({}, ['"instances"', '"inputs"']),
        ({"instances": [ROW], "inputs": {}}, ['"instances"']),
        ({"instances": 3}, ["list of rows"]),
        ({"instances": [ROW, 3]}, ["row 1", "object", "3"]),
        ({"instances": [ROW, without("item")]}, ["row 1", "'item'"]),
        ({"instances": [ROW, changed(x=1)]}, ["row 1", "'x'", "unknown"]),
        ({"instances": [changed(item="a")]}, ["'item', row 0", '"a"']),
        ({"instances": [changed(item=1.0)]}, ["'item', row 0", "integer"]),
        ({"instances": [changed(item=True)]}, ["'item', row 0", "true"]),
        ({"instances": [changed(item=2**63)]}, ["'item', row 0", "64 bits"]),
        ({"instances": [changed(item=None)]}, ["'item', row 0", "null"]),
        ({"instances": [changed(item=[1])]}, ["'item', row 0", "[1]"]),
        ({"instances": [changed(item=-1)]}, ["'item'", "[0, 20)", "-1"]),
        ({"instances": [ROW, changed(item=20)]}, ["'item'", "20"]),
        ({"instances": [changed(price="1")]}, ["'price', row 0", "number"]),
        ({"instances": [changed(content=[1, 2])]}, ["'content', row 0", "3"]),
        ({"instances": [changed(content=1)]}, ["'content', row 0", "list"]),
        (
            {"instances": [changed(content=[1, 2, "x"])]},
            ["'content', row 0", '"x"'],
        ),
        ({"inputs": {"item": [1]}}, ["'user'", "missing"]),
        ({"inputs": [1]}, ['"inputs"', "'user'"]),
        (
            {"inputs": {n: [v] for n, v in ROW.items()} | {"item": [1, 2]}},
            ["same number of rows", "'item': 2"],
        ),
        (
            {"inputs": {n: [v] for n, v in ROW.items()} | {"item": 1}},
            ["'item'", "list"],
        ),
        (
            {"instances": [ROW], "signature_name": "none"},
            ['"none"', "serving_default"],
        ),
        (
            {"instances": [ROW], "signature_name": ["a"]},
            ['["a"]', "serving_default"],
        ),
    ],
)
def test_a_bad_body_is_refused_by_name(server, body, said):
    status, answer = server.post("predict", body)
    assert status == 400, answer
    for text in said:
        assert text in answer["error"], answer
    assert len(answer["error"]) < 1000


def test_no_depth_is_a_fault(server, caplog):
    for depth in (*range(600, 1000, 50), *range(900, 1000, 3)):
        body = json.dumps({"instances": [changed(item=0)]}).replace(
            '"item": 0', '"item": ' + "[" * depth + "]" * depth
        )
        for verb in ("predict", "regress"):
            status, answer = server.post(verb, body.encode())
            assert status == 400, (depth, answer)
    assert not [each for each in caplog.records if each.exc_info]


def test_bad_examples_are_refused(server):
    for body, said in (
        ({"examples": 1}, '"examples"'),
        ({"examples": [1]}, "row 0"),
        ({"examples": [without("item")]}, "'item'"),
        ({"examples": [ROW], "signature_name": "x"}, '"x"'),
        ({"examples": [ROW], "signature_name": {}}, None),
        ({"examples": [ROW], "signature_name": {"a": 1}}, '{"a": 1}'),
    ):
        status, answer = server.post("regress", body)
        if said is None:  # as if it were not given
            assert status == 200
            continue
        assert status == 400 and said in answer["error"]


@pytest.mark.parametrize("name", ["Größe", "\ud800"])
def test_a_name_of_any_text_is_in_the_error(name, server):
    status, answer = server.post("predict", {"instances": [{name: 1}]})
    assert status == 400 and repr(name) in answer["error"]


def test_json_is_utf_8_that_is_not_escaped():
    """A lone surrogate, which UTF-8 cannot encode, is."""
    response = responses.error_response(400, "Größe \ud800")
    assert response.body == '{"error": "Größe \\ud800"}'.encode()


def test_other_paths_are_refused_with_json(server):
    status, answer = server.ask("GET", "/v1/models/other")
    assert status == 404 and "/v1/models/model, with :pre" in answer["error"]
    status, answer = server.ask("GET", "/nowhere")
    assert status == 404 and "/nowhere" in answer["error"]
    status, answer = server.ask("GET", "/v1/models/model:predict")
    assert status == 405 and answer["error"].endswith("Allowed; use POST.")
    status, answer = server.post("predict", {"instances": [ROW]}, "/versions/9")
    assert status == 404 and "version 9" in answer["error"]
    for version in ("9" * 5000, str(2**63), "00007" * 5, "%D9%A7", "-7", "7.0"):
        place = f"/v1/models/model/versions/{version}"
        for path in (place, f"{place}/metadata"):
            status, answer = server.ask("GET", path)
            assert status == 404 and len(answer["error"]) < 500
        assert server.ask("POST", f"{place}:predict", {})[0] == 404


def test_the_label_of_what_is_served(server):
    plain = server.post("predict", {"instances": [ROW]})
    assert plain[0] == 200
    assert server.post("predict", {"instances": [ROW]}, "/labels/stable") == (
        plain
    )
    for rest in ("", "/metadata"):
        path = f"/v1/models/model{{}}{rest}"
        assert server.ask("GET", path.format("/labels/stable")) == (
            server.ask("GET", path.format("/versions/7"))
        )
        status, answer = server.ask("GET", path.format("/labels/canary"))
        assert status == 404 and "'canary'" in answer["error"]
    status, answer = server.post("predict", {}, "/labels/canary")
    assert status == 404 and "'stable'" in answer["error"]


def test_a_large_body_is_refused(server):
    status, answer = server.post("predict", b" " * 1_000_001)
    assert status == 413 and "--max_request_mb" in answer["error"]
    assert server.post("predict", {"instances": [ROW]})[0] == 200


def test_a_body_that_drips_is_given_up(server):
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            b"POST /v1/models/model:predict HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        # Others are answered meanwhile, and this one is not yet.
        assert server.post("predict", {"instances": [ROW]})[0] == 200
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1000)
        server.advance(2)
        slow.settimeout(30)
        answer = slow.recv(1000)
    assert b" 408 " in answer


def test_status_and_metadata(server):
    _, answer = server.ask("GET", "/v1/models/model")
    (state,) = answer["model_version_status"]
    assert (state["version"], state["state"]) == ("7", "AVAILABLE")
    assert server.ask("GET", "/v1/models/model/versions/7")[1] == answer
    assert server.ask("GET", "/v1/models/model/versions/8")[0] == 404
    _, answer = server.ask("GET", "/v1/models/model/metadata")
    assert answer["model_spec"]["version"] == "7"
    found = answer["metadata"]["signature_def"]["signature_def"]
    inputs = found["serving_default"]["inputs"]
    assert inputs["content"]["dtype"] == "DT_FLOAT"
    sizes = [each["size"] for each in inputs["content"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "3"]


def test_health_and_metrics(server):
    assert server.ask("GET", "/healthz") == (200, "ok\n")
    assert server.ask("GET", "/readyz") == (200, "ok\n")
    server.post("predict", {"instances": [ROW]})
    server.post("predict", {})
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        status, text = server.ask("GET", path)
        assert status == 200
        labels = 'model="model",status="%d",verb="predict",version="7"'
        assert f"wukong_requests_total{{{labels % 200}}}" in text
        assert f"wukong_requests_total{{{labels % 400}}}" in text
        assert 'wukong_version{model="model"} 7.0' in text
        assert 'wukong_batch_rows_bucket{le="64.0",model="model",ver' in text
        assert 'wukong_waiting_rows{model="model"} 0.0' in text
        assert 'wukong_waiting_requests{model="model"} 0.0' in text
        assert (
            float(re.search(r"\nprocess_cpu_seconds_total (.+)", text)[1]) > 0
        )
        memory = re.search(r"\nprocess_resident_memory_bytes (.+)", text)
        assert float(memory[1]) > 1e7


def test_only_what_was_scored_is_timed(server):
    def counts():
        _, text = server.ask("GET", "/metrics")
        found = re.findall(r"wukong_request_seconds_count.* (.+)", text)
        return sum(map(float, found))

    server.post("predict", {"instances": [ROW]})
    before = counts()
    server.ask("POST", "/v1/models/other:predict", {})
    server.post("predict", {}, "/versions/9")
    server.post("predict", {})
    assert counts() == before
    server.post("predict", {"instances": [ROW]})
    assert counts() == before + 1


def test_the_page_is_one_file(server):
    status, page = server.ask("GET", "/")
    assert status == 200 and "<title>model</title>" in page
    assert "http://" not in page and "https://" not in page
    assert "default-src 'none'" in server.headers["Content-Security-Policy"]
    _, example = server.ask("GET", "/v1/models/model/example")
    assert server.post("predict", example)[0] == 200
