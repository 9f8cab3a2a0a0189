"""What the clients send again, and for how long; no model is served."""

import inspect
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from export.client.grpc_client import GrpcClient
from export.client.rest import RestClient
from export.client.retry import ServerError, Transient, attempt, chunks


class Answering:
    """A server of REST that answers with some statuses, then with 200."""

    def __init__(self, *statuses, headers=b""):
        self.statuses = list(statuses)
        self.asked = 0
        self._headers = headers
        self._listening = socket.create_server(("127.0.0.1", 0))
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
                body = b'{"model_version_status": [], "error": "why"}'
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
    "status", [400, 401, 403, 404, 405, 409, 413, 422, 431, 500, 501]
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
    """A time that passes only as it is moved on."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.lefts = []
        for module in ("rest", "grpc_client", "retry"):
            monkeypatch.setattr(
                f"export.client.{module}.time",
                SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep),
            )
        monkeypatch.setattr("random.uniform", lambda low, high: high)

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

        monkeypatch.setattr(client, "_once", once)
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


@pytest.mark.parametrize("address", ["localhost:8501", "ftp://a", "http://"])
def test_an_address_must_be_one(address):
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        RestClient(address, "model")


def test_the_deadline_holds_for_a_server_that_only_listens():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with RestClient(address, "model", deadline_s=0.5) as client:
            with pytest.raises(ServerError, match="timed out"):
                client.predict([{"x": 1}])


def test_the_deadline_holds_for_an_answer_that_drips():
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip():
            connection, _ = slow.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
            try:
                for _ in range(99):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{slow.getsockname()[1]}"
        with RestClient(address, "m", deadline_s=0.5, retries=0) as client:
            with pytest.raises(ServerError, match="in time|timed out"):
                client.status()
        thread.join()


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
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("slept"))
    monkeypatch.setattr("random.uniform", lambda low, high: high)

    def call(left):
        assert left <= 1
        raise Transient(ServerError("busy"))

    with pytest.raises(ServerError, match="busy"):
        attempt(call, deadline=1, retries=3, backoff=2)


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
    assert found.keys() == {"deadline_s", "retries", "backoff_s", "max_rows"}
