"""What the clients send again, and for how long; no model is served."""

import contextlib
import inspect
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export.client.grpc_client import GrpcClient
from export.client.rest import RestClient
from export.client.retry import ServerError, Transient, attempt, chunks


def port_of(listening):
    return listening.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return port_of(held)


class Answering:
    """A server of REST that answers with some statuses, then with 200."""

    def __init__(self, *statuses, headers=b"", content=None, port=0):
        self.statuses = list(statuses)
        self.asked = 0
        self._headers = headers
        self._content = content or {"model_version_status": [], "error": "why"}
        self._listening = socket.create_server(("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._listening.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(10_000)
                self.asked += 1
                status = self.statuses.pop(0) if self.statuses else 200
                body = json.dumps(self._content).encode()
                connection.sendall(
                    b"HTTP/1.1 %d Said\r\nConnection: close\r\n%s"
                    b"Content-Length: %d\r\n\r\n%s"
                    % (status, self._headers, len(body), body)
                )


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_what_may_pass_is_asked_again(status):
    with Answering(status, status) as server:
        with RestClient(server.address, "m", backoff_s=0.001) as client:
            assert client.status() == []
        assert server.asked == 3


@pytest.mark.parametrize(
    "status", [301, 307, 400, 401, 403, 404, 405, 409, 413, 422, 431, 500, 501]
)
def test_a_refusal_is_sent_once(status):
    """What was refused, or may have been done, is not sent again."""
    with Answering(status, status) as server:
        with RestClient(server.address, "m", backoff_s=0.001) as client:
            with pytest.raises(ServerError, match=f"{status}: why") as caught:
                client.status()
        assert caught.value.code == status
        assert server.asked == 1


@pytest.mark.parametrize("name", list(grpc.StatusCode.__members__))
def test_a_status_of_grpc_is_sent_again_or_not(name):
    again = name in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED")

    class Failed(grpc.RpcError):
        def code(self):
            return grpc.StatusCode[name]

        def details(self):
            return "why"

    calls = []

    def method(request, timeout):
        calls.append(timeout)
        raise Failed

    with GrpcClient("127.0.0.1:1", "m", retries=2, backoff_s=0.001) as client:
        with pytest.raises(ServerError, match=f"{name}: why") as caught:
            client._call(method, None, time.monotonic() + 60)
    assert caught.value.code == name
    assert len(calls) == (3 if again else 1)


def test_as_long_as_the_server_asks_is_waited(monkeypatch):
    waits = []
    monkeypatch.setattr("export.client.retry.time.sleep", waits.append)
    with Answering(503, headers=b"Retry-After: 7\r\n") as server:
        with RestClient(server.address, "m", backoff_s=0.001) as client:
            client.status()
    assert waits == [7.0]


class Clock:
    """A time that passes only as it is moved on, or by a tick when read."""

    def __init__(self, monkeypatch, tick=0.0):
        self.now = 1000.0
        self.tick = tick
        self.lefts = []
        modules = ("connection", "rest", "json_http", "grpc_client", "retry")
        for module in modules:
            monkeypatch.setattr(
                f"export.client.{module}.time",
                SimpleNamespace(monotonic=self.read, sleep=self.sleep),
            )
        monkeypatch.setattr("random.uniform", lambda low, high: high)

    def read(self):
        self.now += self.tick
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def take(self, left, seconds=3.0):
        """An attempt that has `left` seconds and takes some."""
        self.lefts.append(left)
        self.now += seconds


def test_one_deadline_is_for_all_parts_of_a_call(monkeypatch):
    clock = Clock(monkeypatch)
    with RestClient("http://a:1", "m", max_rows=2, deadline_s=10) as client:

        def once(method, path, body, left):
            clock.take(left)
            return {"predictions": json.loads(body)["instances"]}

        monkeypatch.setattr(client._http, "request", once)
        assert client.predict([1, 2, 3, 4, 5]) == [1, 2, 3, 4, 5]
        assert clock.lefts == [10.0, 7.0, 4.0]
        # Another call begins anew.
        assert client.predict([1]) == [1]
        assert clock.lefts[3:] == [10.0]


def test_one_deadline_is_for_all_parts_of_a_grpc_call(monkeypatch):
    clock = Clock(monkeypatch)
    with GrpcClient("a:1", "m", max_rows=2, deadline_s=10) as client:

        def predict(request, timeout):
            clock.take(timeout)
            reply = predict_pb2.PredictResponse()
            reply.outputs["y"].CopyFrom(request.inputs["x"])
            return reply

        monkeypatch.setattr(client, "_stub", SimpleNamespace(Predict=predict))
        found = client.predict({"x": np.arange(5)})
        assert found["y"].tolist() == [0, 1, 2, 3, 4]
        assert clock.lefts == [10.0, 7.0, 4.0]


def test_one_deadline_is_for_all_attempts(monkeypatch):
    clock = Clock(monkeypatch)

    def call(left):
        clock.take(left, 2.0)
        raise Transient(ServerError("busy"))

    with pytest.raises(ServerError, match="busy"):
        attempt(call, deadline=10, retries=9, backoff=0.5, max_backoff=1.0)
    # 2 s of work each, and waits of 0.5 s, 1 s, 1 s.
    assert clock.lefts == [10.0, 7.5, 4.5, 1.5]


@pytest.mark.parametrize("kind", [RestClient, GrpcClient])
def test_wrong_arguments_are_refused(kind):
    with pytest.raises(ValueError, match="version=1 and label='a'"):
        kind("http://localhost:1", "model", version=1, label="a")


@pytest.mark.parametrize(
    "address",
    [
        *("localhost:8501", "ftp://a", "http://", "http://a:85o1"),
        *("http://a:0", "http://a:99999", "http://[::1", ""),
    ],
)
def test_an_address_must_be_one(address):
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        RestClient(address, "model")


def test_the_deadline_holds_for_a_server_that_only_listens():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with RestClient(address, "model", deadline_s=0.5) as client:
            with pytest.raises(ServerError, match="timed out"):
                client.predict([{"x": 1}])


@contextlib.contextmanager
def sending(*pieces, every=0.05, then=b""):
    """Each connection gets the pieces one by one, then `then` for ever.

    Gives the address and the list of connections.
    """
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send(connection):
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(every)
                while then:
                    connection.sendall(then)
                    time.sleep(every)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listening.accept()[0])
                    threading.Thread(
                        target=send, args=(accepted[-1],), daemon=True
                    ).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{port_of(listening)}", accepted
        listening.shutdown(socket.SHUT_RDWR)


DRIPS = {
    "a body": [b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b" "],
    "chunks": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ],
    "a status": [b"HTTP/1.1 200 ", b"O"],
    "headers": [b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"],
    "a header": [b"HTTP/1.1 200 OK\r\nA: ", b"b"],
    "continue": [b"", b"HTTP/1.1 100 Continue\r\n\r\n"],
    "continue's headers": [b"HTTP/1.1 100 Continue\r\n", b"A: b\r\n"],
}


@pytest.mark.parametrize("kind", DRIPS)
def test_the_deadline_holds_for_an_answer_that_drips(kind, monkeypatch):
    first, then = DRIPS[kind]
    with sending(first, every=0.001, then=then) as (address, _):
        clock = Clock(monkeypatch, tick=1.0)
        with RestClient(address, "m", deadline_s=20) as client:
            with pytest.raises(ServerError, match="timed out"):
                client.status()
        assert 1020 <= clock.now < 1030


def test_the_deadline_holds_for_a_server_that_reads_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{port_of(silent)}"
        with RestClient(address, "m", deadline_s=0.4) as client:
            with pytest.raises(ServerError, match="timed out"):
                client.predict(["x" * 50_000_000])


STATUS = b'{"model_version_status":[]}'


@pytest.mark.parametrize(
    "head, whole",
    [
        (b"Content-Length: 27\r\n\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n\r\n1b\r\n", b"\r\n0\r\n\r\n"),
        (b"Connection: close\r\n\r\n", b""),
    ],
)
def test_a_body_that_was_cut_short_is_asked_again(head, whole):
    """A clean end of a connection says nothing of the body's."""
    for size in (0, 1, 13, 26, 27):
        body = head + STATUS[:size]
        body += whole if size == 27 else b""
        with sending(b"HTTP/1.1 200 OK\r\n" + body, every=0) as (address, all_):
            with RestClient(address, "m", retries=1, backoff_s=0.001) as client:
                if size == 27:
                    assert client.status() == []
                else:
                    with pytest.raises(ServerError):
                        client.status()
            assert len(all_) == (1 if size == 27 else 2)


@pytest.mark.parametrize(
    "content, said",
    [
        ([], "'predictions'"),
        (3, "'predictions'"),
        ({}, "'predictions'"),
        ({"predictions": None}, "'predictions'"),
        ({"predictions": {"a": 1}}, "'predictions'"),
        ({"outputs": [1, 2]}, "'predictions'"),
        ({"predictions": [1]}, "2 predictions.*has 1"),
        ({"predictions": [1, 2, 3]}, "2 predictions.*has 3"),
        ({"predictions": []}, "2 predictions.*has 0"),
    ],
)
def test_an_answer_of_another_form_is_an_error(content, said):
    with Answering(content=content) as server:
        with RestClient(server.address, "m") as client:
            with pytest.raises(ServerError, match=said) as caught:
                client.predict([1, 2])
        assert caught.value.code == 200
        assert server.asked == 1


def test_other_answers_of_another_form_are_errors():
    with Answering(content={"results": [1.0], "outputs": {"y": [1]}}) as server:
        with RestClient(server.address, "m") as client:
            for verb in (client.regress, client.classify):
                assert verb([{}]) == [1.0]
                with pytest.raises(ServerError, match="2 results"):
                    verb([{}, {}])
            assert client.predict_columns({"x": [1]}) == {"y": [1]}
            context = {"x": [1], "c": [1, 2, 3]}
            assert client.predict_columns(context) == {"y": [1]}
            with pytest.raises(ServerError, match=r"outputs of \[2\] rows"):
                client.predict_columns({"x": np.arange(2)})
            with pytest.raises(ServerError, match="'metadata'"):
                client.metadata()


@pytest.mark.parametrize(
    "content, ready",
    [
        ({"name": "m", "ready": True}, True),
        ({"name": "m", "ready": "True"}, True),
        ({"name": "m", "ready": False}, False),
        ({"model_version_status": {}}, False),
        ({"model_version_status": [1]}, False),
        ([], False),
        (None, False),
    ],
)
def test_the_status_of_another_kind_of_server(content, ready):
    """KServe's has no versions."""
    with Answering(content=content or "none") as server:
        with RestClient(server.address, "m") as client:
            with pytest.raises(ServerError, match="model_version_status"):
                client.status()
            assert client.ready() is ready


@pytest.mark.parametrize("status", [204, 301, 400, 503])
def test_an_error_of_any_form_is_shown(status):
    for content in (b"[" * 5000, b"<html>", b"", b'{"error": 3}', b"\xff"):
        head = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n"
        sent = head % (status, len(content)) + content
        with sending(sent, every=0) as (address, _):
            with RestClient(address, "m", retries=0) as client:
                with pytest.raises(ServerError, match=f"status {status}"):
                    client.status()


class _Predictions:
    """Gives x back, without its last row if it is short."""

    short = False

    def Predict(self, request, context):
        x = tf.make_ndarray(request.inputs["x"])
        reply = predict_pb2.PredictResponse()
        x = x[:-1] if self.short else x
        reply.outputs["y"].CopyFrom(tf.make_tensor_proto(x))
        return reply

    def __getattr__(self, name):
        return None


@contextlib.contextmanager
def grpc_server(port=0, servicer=None):
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        servicer or _Predictions(), server
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def test_another_number_of_rows_over_grpc_is_an_error():
    servicer = _Predictions()
    with grpc_server(servicer=servicer) as port:
        with GrpcClient(f"127.0.0.1:{port}", "m", max_rows=2) as client:
            found = client.predict({"x": np.arange(5)})
            assert found["y"].tolist() == [0, 1, 2, 3, 4]
            servicer.short = True
            with pytest.raises(ServerError, match="'y'.*2 rows"):
                client.predict({"x": np.arange(4)})


@pytest.mark.parametrize("away", [1.5, pytest.param(5, marks=pytest.mark.full)])
def test_a_server_that_is_away_for_a_while(away):
    """Within the deadline nothing is lost, by either client."""
    ports = free_port(), free_port()
    rest = RestClient(f"http://127.0.0.1:{ports[0]}", "m")
    over_grpc = GrpcClient(f"127.0.0.1:{ports[1]}", "m")
    with rest, over_grpc, ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        asked = [
            pool.submit(rest.predict, [1, 2]),
            pool.submit(over_grpc.predict, {"x": np.arange(2)}),
        ]
        time.sleep(away)
        answering = Answering(content={"predictions": [3, 4]}, port=ports[0])
        with answering, grpc_server(ports[1]):
            assert asked[0].result() == [3, 4]
            assert asked[1].result()["y"].tolist() == [0, 1]
        # Long waits would be as bad as none.
        assert time.monotonic() - began < away + 2.5


def test_a_connection_that_was_idle_too_long_is_renewed():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n"
    answer += b'{"model_version_status":[]}'
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            for _ in range(2):
                connection, _ = listening.accept()
                accepted.append(connection)
                connection.recv(1000)
                connection.sendall(answer)
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with RestClient(address, "m", retries=0) as client:
            assert client.status() == []
            time.sleep(0.1)
            assert client.status() == []
        thread.join()
    assert len(accepted) == 2


def test_no_server_is_an_error_that_names_the_address():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with RestClient(f"http://127.0.0.1:{port}", "m", retries=1) as client:
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}"):
            client.predict([{"x": 1}])
        assert not client.ready()
    with GrpcClient(f"127.0.0.1:{port}", "m", retries=1) as client:
        with pytest.raises(ServerError, match="UNAVAILABLE"):
            client.status()


def test_waits_double_and_the_server_s_wish_is_met(monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    wishes = iter([None, None, 3.0, None])

    def call(left):
        raise Transient(ServerError("busy"), next(wishes))

    with pytest.raises(ServerError, match="busy"):
        attempt(call, deadline=60, retries=3, backoff=0.5)
    assert waits == [0.5, 1.0, 3.0]


def test_no_wait_goes_beyond_the_deadline(monkeypatch):
    """The last attempts come late, and a wait that the server asks for."""
    clock = Clock(monkeypatch)
    wishes = [None]

    def call(left):
        clock.take(left, 0.0)
        raise Transient(ServerError("busy"), wishes[0])

    with pytest.raises(ServerError, match="busy"):
        attempt(call, deadline=1, retries=None, backoff=2, max_backoff=9)
    assert clock.lefts[:4] == [1.0, 0.5, 0.25, 0.125]
    assert 0 < clock.lefts[-1] < 0.02
    clock.lefts.clear()
    wishes[0] = 3.0
    with pytest.raises(ServerError, match="busy"):
        attempt(call, deadline=10, retries=None, backoff=2)
    assert clock.lefts == [10.0, 7.0, 4.0, 1.0]


def test_chunks():
    assert chunks(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert chunks(0, 2) == [slice(0, 0)]
    with pytest.raises(ValueError, match="max_rows"):
        chunks(3, 0)


@pytest.mark.parametrize("kind", [RestClient, GrpcClient])
def test_documented_defaults(kind):
    text = " ".join(kind.__doc__.split()).replace("1,024", "1024")
    text = text.replace("4,096", "4096")
    found = dict(re.findall(r"(\w+): [^:]*?Defaults to ([\d.]*\d)", text))
    arguments = inspect.signature(kind).parameters
    assert {name: arguments[name].default for name in found} == {
        name: float(value) for name, value in found.items()
    }
    assert found.keys() == {"deadline_s", "backoff_s", "max_rows"}
    assert arguments["retries"].default is None
    assert "retries: attempts after the first. Defaults to None" in text
