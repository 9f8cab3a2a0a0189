"""The server under load, while versions and the server come and go."""

import asyncio
import collections
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from export.client.rest import RestClient
from export.client.retry import ServerError
from tests.conftest import ROOT
from tests.export.client.test_clients import rows_of
from tests.export.conftest import exported
from tests.export.formats.test_saved_model import logits_of
from tests.waiting import until
from tests.worlds.served import columns, make_run

PATH = "/v1/models/model:predict"
ROWS = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Versions 7 and 8 (hidden), rows, and what each version says of them."""
    folder = tmp_path_factory.mktemp("load")
    run_dir = make_run(str(folder / "run"))
    base = folder / "model"
    for version, step in ((7, 10), (8, 20)):
        exported(
            run_dir,
            base,
            f"--version={version}",
            f"--checkpoint={step}",
            "--format=onnx",
        )
    raw = columns(rows=ROWS, seed=5)
    expected = np.stack(
        [logits_of(run_dir, raw, checkpoint=step) for step in (10, 20)]
    )
    assert np.min(np.abs(expected[0] - expected[1])) > 1e-4
    return base, rows_of(raw), expected


@pytest.fixture
def base(world, tmp_path):
    """The versions, of which 8 is hidden."""
    copied = tmp_path / "model"
    shutil.copytree(world[0], copied)
    os.rename(copied / "8", copied / ".unfinished-8")
    return copied


class Process:
    """`python -m export.serve` on a port."""

    def __init__(self, base, port=0, *args):
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "export.serve",
                f"--model={base}",
                f"--port={port}",
                "--poll_s=0.1",
                "--body_timeout_s=3",
                *args,
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://127.0.0.1:(\d+)/", line)
        assert found, line + self.process.stderr.read()
        self.port = int(found[1])

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        self.said = self.process.stderr.read()
        self.process.stderr.close()
        return code


class Load:
    """Connections that ask for known rows and note what came."""

    def __init__(self, port, world, connections, each):
        _, self._rows, self._expected = world
        self._port = port
        self.scored = [0, 0]  # by each of the versions
        self.wrong, self.failed = [], []
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(seed, each))
            for seed in range(connections)
        ]

    def start(self):
        for thread in self._threads:
            thread.start()

    def join(self):
        for thread in self._threads:
            thread.join(300)
            assert not thread.is_alive()

    @property
    def done(self):
        return sum(self.scored)

    def _ask(self, seed, each):
        random = np.random.default_rng(seed)
        connection = None
        left = each
        while left:
            places = random.integers(0, ROWS, random.integers(1, 6))
            rows = [self._rows[place] for place in places]
            body = json.dumps({"instances": rows})
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(
                        "127.0.0.1", self._port, timeout=30
                    )
                connection.request("POST", PATH, body)
                response = connection.getresponse()
                answer = json.loads(response.read())
                assert response.status == 200, answer
            except (OSError, http.client.HTTPException, ValueError) as error:
                with self._lock:
                    self.failed.append((time.monotonic(), repr(error)))
                connection.close()
                connection = None
                time.sleep(0.05)
                continue
            got = np.array([each["logit"] for each in answer["predictions"]])
            gaps = np.abs(self._expected[:, places] - got).max(axis=1)
            with self._lock:
                if gaps.min() > 1e-5:
                    self.wrong.append((places, got))
                self.scored[int(np.argmin(gaps))] += 1
            left -= 1
        if connection is not None:
            connection.close()


def faults(port):
    """Bad requests of every kind; (status, error) of each."""

    def post(body, length=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.putrequest("POST", PATH)
            connection.putheader("Content-Length", str(length or len(body)))
            connection.endheaders()
            try:
                connection.send(body)
            except OSError:
                pass  # it was refused before all of it was sent
            response = connection.getresponse()
            return response.status, json.loads(response.read())["error"]
        finally:
            connection.close()

    return {
        "malformed": post(b'{"instances": ['),
        "dtype": post(b'{"inputs": {"user": ["a"]}}'),
        "missing": post(b'{"instances": [{"user": 1}]}'),
        "large": post(b" " * 100_000_000),
        "slow": post(b"{", length=100),
    }


def swap_and_kill(base, world, connections, each):
    """Load with a swap, a kill and faults in its middle."""
    server = Process(base)
    load = Load(server.port, world, connections, each)
    total = connections * each
    load.start()
    until(lambda: load.done > total // 5)
    os.rename(base / ".unfinished-8", base / "8")
    found = faults(server.port)
    until(lambda: load.scored[1] > 0)
    assert load.failed == []
    until(lambda: load.done > total // 2)
    killed = time.monotonic()
    server.end(signal.SIGKILL)
    server = Process(base, server.port)
    with RestClient(f"http://127.0.0.1:{server.port}", "model") as client:
        client.wait_until_ready(60)
    ready = time.monotonic()
    load.join()
    assert server.end() == 0
    assert load.wrong == []
    assert load.done == total
    # Requests fail while there is no server, and at no other time.
    assert all(killed - 1 < when < ready + 1 for when, _ in load.failed)
    assert min(load.scored) > 0
    assert found["malformed"] == (400, found["malformed"][1])
    assert "not valid JSON" in found["malformed"][1]
    assert found["dtype"][0] == 400
    assert found["missing"][0] == 400 and "'item'" in found["missing"][1]
    assert found["large"][0] == 413
    assert "--max_request_mb" in found["large"][1]
    assert found["slow"][0] == 408
    return load


@pytest.mark.full
def test_some_load_with_a_swap_a_kill_and_faults(base, world):
    swap_and_kill(base, world, connections=6, each=250)


@pytest.mark.full
def test_ten_thousand_requests_from_sixteen_connections(base, world):
    load = swap_and_kill(base, world, connections=16, each=625)
    assert load.done == 10_000


@pytest.mark.slow
def test_told_to_stop_it_answers_what_it_has_begun(base, world):
    server = Process(base)
    load = Load(server.port, world, connections=4, each=10**9)
    # A request whose body is still on its way.
    body = json.dumps({"instances": world[1]}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
            f"{len(body)}\r\n\r\n".encode()
            + body[:100]
        )
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        slow.sendall(body[100:])
        slow.settimeout(30)
        answer = slow.recv(100)
    assert b" 200 " in answer
    assert server.end() == 0
    assert load.failed == []


class Closed:
    """Connections that ask without a pause, whatever they are answered."""

    def __init__(self, port, body, connections):
        self._request = (
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._port = port
        self._connections = connections

    def run(self, seconds):
        """Number of answers by their status."""
        counts = collections.Counter()

        async def ask(ends):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port
            )
            while time.monotonic() < ends:
                writer.write(self._request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = re.search("content-length: (.*)\r", head)[1]
                await reader.readexactly(int(size))
                counts[int(head.split()[1])] += 1
            writer.close()

        async def main():
            ends = time.monotonic() + seconds
            await asyncio.gather(*(ask(ends) for _ in range(self._connections)))

        asyncio.run(main())
        return counts


@pytest.mark.full
def test_refusals_leave_the_time_to_those_that_are_served(base, world):
    """256 connections of 64 rows get most of what 64 get."""
    server = Process(base)
    body = json.dumps({"instances": (2 * world[1])[:64]}).encode()
    found = {64: [], 256: []}
    for _ in range(3):
        for connections, counts in found.items():
            counts.append(Closed(server.port, body, connections).run(4))
    assert server.end() == 0
    assert all(counts.keys() <= {200, 503} for counts in found[256])
    assert all(counts[503] for counts in found[256])
    assert all(counts.keys() == {200} for counts in found[64])
    # Of pairs that follow each other, as the machine may slow down.
    ratios = [
        many[200] / few[200]
        for few, many in zip(found[64], found[256], strict=True)
    ]
    assert statistics.median(ratios) >= 0.8


@pytest.mark.full
def test_a_large_request_does_not_hold_others_up(base, world):
    server = Process(base)
    rows = world[1]
    large = {"instances": rows * (6000 // ROWS)}
    with (
        ThreadPoolExecutor(1) as pool,
        RestClient(f"http://127.0.0.1:{server.port}", "model") as client,
        RestClient(
            f"http://127.0.0.1:{server.port}", "model", max_rows=6000
        ) as other,
    ):
        client.predict(rows[:1])
        slowest, number = 0.0, 0
        for _ in range(5):
            asked = pool.submit(other.predict, large["instances"])
            while not asked.done():
                began = time.monotonic()
                client.predict(rows[:1])
                slowest = max(slowest, time.monotonic() - began)
                number += 1
            assert len(asked.result()) == 6000
    assert server.end() == 0
    assert number > 10 and slowest < 0.5


@pytest.mark.full
def test_a_restart_within_the_deadline_loses_no_call(base, world):
    server = Process(base)
    stop, errors, counts = threading.Event(), [], [0] * 4

    def ask(number):
        address = f"http://127.0.0.1:{server.port}"
        with RestClient(address, "model", deadline_s=60) as client:
            while not stop.is_set():
                try:
                    (answer,) = client.predict(world[1][number : number + 1])
                except ServerError as error:
                    errors.append(error)
                gaps = np.abs(world[2][:, number] - answer["logit"])
                assert gaps.min() < 1e-5
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for how in (signal.SIGTERM, signal.SIGKILL):
        before = sum(counts)
        until(lambda before=before: sum(counts) > before + 50)
        server.end(how)
        server = Process(base, server.port)
    before = sum(counts)
    until(lambda: sum(counts) > before + 50)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert server.end() == 0
    assert errors == []


@pytest.mark.full
def test_nine_hundred_dripping_connections(base, world):
    server = Process(base, 0, "--header_timeout_s=4")
    line = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nA: ".encode()
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        drips = []
        for _ in range(900):
            drips.append(stack.enter_context(socket.create_connection(address)))
            drips[-1].sendall(line)
        client = stack.enter_context(
            RestClient(f"http://127.0.0.1:{server.port}", "model", retries=0)
        )
        ends = time.monotonic() + 60
        left = set(drips)
        while left:
            assert time.monotonic() < ends
            assert len(client.predict(world[1])) == ROWS
            for each in list(left):
                try:
                    each.sendall(b"a")
                except OSError:
                    left.remove(each)
    assert server.end() == 0


@pytest.mark.slow
def test_two_servers_do_not_share_a_port(base):
    server = Process(base)
    other = subprocess.run(
        [
            sys.executable,
            "-m",
            "export.serve",
            f"--model={base}",
            f"--port={server.port}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert server.end() == 0
    assert other.returncode == 2
    assert f"--port={server.port}: cannot listen there" in other.stderr


@pytest.mark.parametrize(
    "args, said",
    [
        ([], "--model is required"),
        (["--model=nowhere"], "nowhere contains no published version"),
        (["--model={base}/7/manifest.json"], "contains no published version"),
        (["--model={base}", "--version=5"], "--version=5"),
        (["--model={base}/7", "--version=8"], "--version=8"),
        (["--model={base}", "--name=a/b"], "--name must consist"),
        (
            ["--model={base}", "--engine=saved_model"],
            "--engine=saved_model needs",
        ),
        (["--model={base}", "stray"], "unexpected arguments"),
    ],
)
def test_wrong_flags_are_refused(base, args, said, capsys, monkeypatch):
    from absl import flags

    from export import serve

    monkeypatch.setattr("logging.basicConfig", lambda **kwargs: None)
    values = flags.FlagValues()
    serve.define(values)
    argv = values(["serve", *(a.format(base=base) for a in args), "--port=0"])
    assert serve.run(argv, values) == 2
    assert said in capsys.readouterr().err
