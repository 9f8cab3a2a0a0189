"""Connections, with limits on their number and on the time for headers."""

import asyncio
import contextlib
import json
import logging

from aiohttp import web

log = logging.getLogger("wukong.serve")
# As long as proxies keep idle connections.
IDLE_S = 75.0


class Connections:
    """Creates the protocol of each new connection.

    Args:
        server: aiohttp's server, which handles requests.
        most: largest number of open connections.
        header_s: timeout for a request's headers, in seconds.
    """

    def __init__(self, server: web.Server, most: int, header_s: float):
        self.server = server
        self.most = most
        self.header_s = header_s
        self.open = 0

    def __call__(self) -> "Connection":
        """Returns the protocol of a new connection."""
        return Connection(self)


class Connection(web.RequestHandler):
    """A connection that is closed if headers do not arrive in time.

    Args:
        connections: the open connections.
    """

    def __init__(self, connections: Connections):
        super().__init__(
            connections.server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
            keepalive_timeout=IDLE_S,
        )
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None
        self._request: web.BaseRequest | None = None
        self._busy = self._received = False
        self.requests = 0  # that have begun

    def connection_made(self, transport):
        """Accepts a connection, or answers 503 if there are too many."""
        self._connections.open += 1
        if self._connections.open > self._connections.most:
            transport.write(
                _error_bytes(
                    "503 Service Unavailable",
                    f"{self._connections.most} connections are already open "
                    "(--max_connections).",
                )
            )
            transport.close()
            return
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc):
        """Forgets the connection."""
        self._connections.open -= 1
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data):
        """Passes bytes on; a request's first start the headers' timeout."""
        self._received = True
        request = self._request
        in_body = request is not None and not request.content.is_eof()
        if self._timer is None and not self._busy and not in_body:
            self._expect_headers()
        super().data_received(data)

    @contextlib.contextmanager
    def busy(self, request: web.BaseRequest):
        """Marks the connection as busy until its request is answered."""
        self._stop_timer()
        self._request, self._busy = request, True
        self.requests += 1
        try:
            yield
        finally:
            self._busy = False

    def _expect_headers(self):
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            self._connections.header_s, self._close_late
        )

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_late(self):
        self._timer = None
        if self._received and self.transport is not None:
            seconds = self._connections.header_s
            text = f"the headers did not arrive within {seconds:g} s."
            self.transport.write(_error_bytes("408 Request Timeout", text))
        self.force_close()

    def handle_error(self, request, status=500, exc=None, message=None):
        """Answers malformed HTTP with JSON and one line in the log."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has already begun")
        reason = " ".join(str(message or exc).split())[:200]
        log.warning("%s: malformed HTTP request: %s", request.remote, reason)
        response = web.json_response(
            {"error": f"malformed HTTP request: {reason}"}, status=status
        )
        response.force_close()
        return response


def _error_bytes(status: str, error: str) -> bytes:
    """Returns the bytes of an error response sent outside any request."""
    body = json.dumps({"error": error}).encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


class Site(web.BaseSite):
    """A listening port.

    Args:
        runner: runner of the application.
        host: address to listen on.
        port: port; 0 for a free one.
        most: largest number of open connections.
        header_s: timeout for a request's headers, in seconds.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        host: str,
        port: int,
        *,
        most: int,
        header_s: float,
    ):
        super().__init__(runner, backlog=min(most, 1024))
        self._address = host, port
        assert runner.server is not None
        self._connections = Connections(runner.server, most, header_s)

    @property
    def name(self) -> str:
        """Address of the site."""
        return "http://{}:{}".format(*self._address)

    async def start(self):
        """Opens the port."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connections, *self._address, backlog=self._backlog
        )


def allow_open_files(connections: int):
    """Increases the limit of open files for `connections`, if permitted."""
    import resource  # not available on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = connections + 256
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
