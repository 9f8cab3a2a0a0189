"""The server in a thread of this process."""

import asyncio
import contextlib
import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from export.server import grpc_service
from export.server.app import Server
from export.server.arrivals import Hosts
from export.server.connections import Site
from export.server.loading import Settings
from export.server.measures import Measures
from export.server.versions import Versions


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time, and so its time-outs, can be moved on."""

    moved = 0.0

    def time(self):
        return super().time() + self.moved


class Running:
    """A server that answers on loopback."""

    def __init__(self, loop, port, grpc_port, versions, measures):
        self._loop = loop
        self.looks = 0  # at the directory of versions
        self.port = port
        self.grpc_port = grpc_port
        self.versions = versions
        self.measures = measures
        self._refresh = versions.refresh
        versions.refresh = self._look

    async def _look(self):
        try:
            await self._refresh()
        finally:
            self.looks += 1

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def advance(self, seconds):
        """Moves the server's time on, once it has taken what was sent."""
        self.ask("GET", "/healthz")

        def move():
            self._loop.moved += seconds

        self._loop.call_soon_threadsafe(move)
        self.ask("GET", "/healthz")

    def ask(self, method, path, body=None, headers=None):
        """(status, JSON or text) of one request."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, 60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            text = response.read().decode()
            self.headers = dict(response.getheaders())
        if "json" in (response.getheader("Content-Type") or ""):
            return response.status, json.loads(text)
        return response.status, text

    def post(self, verb, body, version=""):
        return self.ask("POST", f"/v1/models/model{version}:{verb}", body)


@contextlib.contextmanager
def serving(
    base,
    *,
    engine="auto",
    max_rows=64,
    max_waiting=1000,
    pinned=None,
    max_bytes=1_000_000,
    body_s=2.0,
    poll_s=0.05,
    verify=True,
    header_s=10.0,
    max_connections=500,
    with_grpc=False,
):
    """Serves `base` until the block ends."""
    loop = Loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)

    measures = Measures("model")
    with ThreadPoolExecutor(2) as executor:
        versions = Versions(
            str(base),
            Settings(engine, None, max_rows, max_waiting, pinned, verify),
            executor,
            measures.note_rows,
        )
        server = Server(
            "model",
            versions,
            measures,
            body_s=body_s,
            poll_s=poll_s,
            hosts=Hosts(),
        )
        runner = web.AppRunner(server.application(max_bytes))

        async def start():
            await runner.setup()
            site = Site(
                runner,
                "127.0.0.1",
                0,
                most=max_connections,
                header_s=header_s,
            )
            await site.start()
            return runner.addresses[0][1]

        calls = None
        port, grpc_port = wait(start()), 0
        if with_grpc:
            calls, grpc_port = wait(
                grpc_service.start(*server.services(), "127.0.0.1:0", max_bytes)
            )
        try:
            yield Running(loop, port, grpc_port, versions, measures)
        finally:
            if calls is not None:
                wait(calls.stop(None))
            wait(runner.cleanup())
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
