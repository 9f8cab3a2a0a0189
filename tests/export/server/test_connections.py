"""Connections that drip, are too many, or are no HTTP; foreign Hosts."""

import contextlib
import gzip
import json
import os
import socket
import zlib
from types import SimpleNamespace

import pytest

from export.server import arrivals as arrivals_module
from export.server.arrivals import Arrivals, Hosts
from export.server.batching import Overloaded
from tests.export.client.test_clients import rows_of
from tests.export.server.running import serving
from tests.waiting import until
from tests.worlds.served import columns

ROWS = rows_of(columns(rows=2))
BODY = json.dumps({"instances": ROWS}).encode()
PATH = "/v1/models/model:predict"
LINE = b"POST /v1/models/model:predict HTTP/1.1\r\n"


@pytest.fixture(scope="module")
def server(published):
    base = os.path.dirname(published)
    with serving(
        base, engine="onnx", header_s=10, body_s=60, max_connections=20
    ) as found:
        yield found


def connected(server):
    return socket.create_connection(("127.0.0.1", server.port), 30)


def answer_of(connection):
    """(status, JSON) of the one answer that comes before the end."""
    content = b""
    while part := connection.recv(10_000):
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("first", [LINE, LINE + b"Host: localhost\r\nA: "])
def test_headers_that_drip_are_given_up(server, first):
    with connected(server) as slow:
        slow.sendall(first)
        for _ in range(3):
            server.advance(3)
            slow.sendall(b"a")
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)
        server.advance(2)
        slow.settimeout(30)
        status, answer = answer_of(slow)
    assert status == 408 and "headers" in answer["error"]


def test_a_connection_that_says_nothing_is_closed(server):
    with connected(server) as silent:
        server.advance(11)
        assert silent.recv(1) == b""


def test_the_next_request_s_headers_have_their_own_time(server):
    """A connection is kept between requests, and not while they drip."""
    head = LINE + b"Host: localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    with connected(server) as kept:
        for wait in (0, 20):  # longer than headers may take
            server.advance(wait)
            kept.sendall(head + BODY[:10])
            server.advance(20)  # of the body's time
            kept.sendall(BODY[10:])
            assert kept.recv(10_000).startswith(b"HTTP/1.1 200 ")
        kept.sendall(LINE)
        server.advance(11)
        assert answer_of(kept)[0] == 408


def test_no_more_connections_than_may_be(server):
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connected(server)) for _ in range(20)]
        one_more = stack.enter_context(connected(server))
        status, answer = answer_of(one_more)
        assert status == 503 and "--max_connections" in answer["error"]
        opened[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert opened[0].recv(1000).startswith(b"HTTP/1.1 200 ")

    def answered():
        with contextlib.suppress(OSError):
            return server.ask("GET", "/healthz")[0] == 200

    until(answered)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
)
def test_what_is_no_http_costs_one_line(server, sent, caplog):
    with connected(server) as other:
        other.sendall(sent)
        status, answer = answer_of(other)
    assert status == 400 and "malformed HTTP request" in answer["error"]
    (record,) = caplog.records
    assert "\n" not in record.getMessage() and not record.exc_info
    assert len(record.getMessage()) < 300


@pytest.mark.parametrize(
    "host, expect, first",
    [
        (b"localhost", b"100-continue", b"100"),
        (b"localhost", b"100-Continue", b"100"),
        (b"localhost", b"a dinner", b"417"),
        (b"evil.example", b"100-continue", b"403"),
    ],
)
def test_a_body_that_waits_is_asked_for_when_it_is_read(
    server, host, expect, first
):
    head = b"Host: %s\r\nContent-Length: %d\r\nExpect: %s\r\n\r\n"
    with connected(server) as waiting:
        waiting.sendall(LINE + head % (host, len(BODY), expect))
        assert waiting.recv(10_000).startswith(b"HTTP/1.1 %s " % first)
        waiting.sendall(BODY)
        if first == b"100":
            assert waiting.recv(10_000).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_goes_in_its_body_is_no_fault(server, caplog):
    with connected(server) as gone:
        gone.sendall(LINE + b"Host: localhost\r\nContent-Length: 100\r\n\r\n{")
        server.ask("GET", "/healthz")  # by then it is being read
    with connected(server) as broken:
        broken.sendall(
            LINE
            + b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        assert answer_of(broken)[0] == 400
    assert not [each for each in caplog.records if each.exc_info]


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1:8501", 200),
        ("127.9.9.9", 200),
        ("localhost", 200),
        ("LocalHost.:80", 200),
        ("model.localhost:1", 200),
        ("[::1]:8501", 200),
        ("::1", 200),
        ("evil.example", 403),
        ("evil.example:8501", 403),
        ("evil", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.0.1", 403),
        ("[::2]:80", 403),
        ("", 403),
    ],
)
def test_a_foreign_host_is_refused(server, host, status):
    got, answer = server.ask("POST", PATH, BODY, {"Host": host})
    assert got == status
    if status == 403:
        assert "--allow_hosts" in answer["error"]
        assert server.ask("GET", "/", headers={"Host": host})[0] == 403


def test_hosts_can_be_allowed():
    hosts = Hosts(("Clicks.example",))
    hosts.check("clicks.example:80")
    with pytest.raises(Exception, match="Forbidden|not a name of this"):
        hosts.check("other.example")


def encoded(kind):
    if kind == "gzip":
        return gzip.compress(BODY)
    if kind == "padded":
        return gzip.compress(BODY) + bytes(20)
    if kind == "two parts":
        return gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])
    if kind == "raw deflate":
        return zlib.compress(BODY, wbits=-15)
    return zlib.compress(BODY)


@pytest.mark.parametrize(
    "kind, encoding",
    [
        ("gzip", "gzip"),
        ("gzip", "GZip"),
        ("two parts", "gzip"),
        ("padded", "gzip"),
        ("zlib", "deflate"),
        ("raw deflate", "deflate"),
    ],
)
def test_bodies_may_be_compressed(server, kind, encoding):
    headers = {"Content-Encoding": encoding}
    plain = server.ask("POST", PATH, BODY)
    assert server.ask("POST", PATH, encoded(kind), headers) == plain
    assert plain[0] == 200


def test_broken_and_unknown_encodings(server, caplog):
    whole = gzip.compress(BODY)
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # of the checksum
    more = whole + b"more"
    broken = (b"", b"no gzip", whole[:-1], whole[:20], bytes(flipped), BODY)
    for body in (*broken, more):
        for encoding in ("gzip", "deflate"):
            headers = {"Content-Encoding": encoding}
            status, answer = server.ask("POST", PATH, body, headers)
            assert status == 400 and "decompressed" in answer["error"]
    for encoding in ("br", "zstd", "snappy", "gzip, gzip", "x" * 5000):
        status, answer = server.ask(
            "POST", PATH, BODY, {"Content-Encoding": encoding}
        )
        assert status == 415 and encoding[:10] in answer["error"]
        assert server.headers["Accept-Encoding"] == "gzip, deflate"
        assert len(answer["error"]) < 500
    for size in (1_000_001, 100_000_000):
        bomb = gzip.compress(b" " * size)
        status, answer = server.ask(
            "POST", PATH, bomb, {"Content-Encoding": "gzip"}
        )
        assert status == 413 and "--max_request_mb" in answer["error"]
    assert not [each for each in caplog.records if each.exc_info]


def test_requests_are_refused_by_their_headers():
    arrivals = Arrivals(100)
    with arrivals.admitted(10**9, 0) as admitted:  # nothing is known yet
        admitted.is_read(10)
    arrivals = Arrivals(100)
    arrivals.learn(4000, 40)  # 100 bytes a row
    with arrivals.admitted(6000, 0) as admitted:
        assert arrivals.unread == pytest.approx(60)
        with arrivals.admitted(4000, 0):
            with pytest.raises(Overloaded, match="100 rows are already"):
                with arrivals.admitted(1000, 0):
                    pass
        with pytest.raises(Overloaded), arrivals.admitted(1000, 31):
            pass
        admitted.is_read(60)
        assert arrivals.unread == 0  # they are among those that wait
        with arrivals.admitted(1000, 90):
            pass
        with pytest.raises(Overloaded), arrivals.admitted(1100, 90):
            pass
    # Bodies that do not say their bytes teach nothing.
    for _ in range(300):
        with arrivals.admitted(0, 0) as admitted:
            admitted.is_read(60)
    with arrivals.admitted(1000, 90):
        pass
    # One that is larger than what may wait is taken if nothing waits.
    with arrivals.admitted(10**6, 0):
        pass
    assert arrivals.unread == pytest.approx(0)


def test_the_pause_follows_the_wait(monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(arrivals_module, "time", clock)
    arrivals = Arrivals(100)
    assert arrivals.pause == 1.0
    for _ in range(200):
        with arrivals.admitted(1, 0):
            now[0] += 0.5
    assert arrivals.pause == pytest.approx(2.0, abs=0.01)
    for _ in range(200):
        with arrivals.admitted(1, 0):
            now[0] += 60.0
    assert arrivals.pause == 5.0
