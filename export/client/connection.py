"""HTTP requests with a deadline for the whole exchange.

http.client applies its timeout to each receive, so headers that arrive slowly
could exceed any deadline. Here all socket operations share one deadline.
"""

import contextlib
import dataclasses
import http.client
import socket
import ssl
import time
import urllib.parse
from typing import Any


@dataclasses.dataclass(frozen=True)
class Response:
    """A response.

    Args:
        status: HTTP status code.
        content: the body.
        retry_after: value of the Retry-After header, or "".
        marked: whether the server marked the end of the body, so that it is
            known to be complete.
    """

    status: int
    content: bytes
    retry_after: str
    marked: bool


class _Ending:
    """Mixin for sockets with a deadline `ends`, a time of `time.monotonic`."""

    ends = 0.0

    def recv_into(self, *args):
        _limit(self)
        return super().recv_into(*args)  # type: ignore[misc]

    def sendall(self, data, flags=0):
        with memoryview(data) as view, view.cast("B") as left:
            sent = 0
            while sent < len(left):
                _limit(self)
                part = left[sent : sent + (1 << 20)]
                sent += self.send(part, flags)  # type: ignore[attr-defined]


class _Socket(_Ending, socket.socket):
    pass


class _SecureSocket(_Ending, ssl.SSLSocket):
    pass


def _limit(connected: Any):
    left = connected.ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connected.settimeout(left)


class Connection:
    """A connection that is opened by the first request and kept alive.

    Args:
        address: the server's address, http or https.
    """

    def __init__(self, address: urllib.parse.SplitResult):
        self._address = address
        self._http: http.client.HTTPConnection | None = None
        self._socket: Any = None  # an _Ending

    @property
    def open(self) -> bool:
        """Whether a connection is open."""
        return self._http is not None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        ends: float,
    ) -> Response:
        """Sends a request and returns the response.

        Args:
            method: HTTP method, e.g. "POST".
            path: path, with its leading slash.
            body: body of the request, or None.
            headers: headers of the request.
            ends: deadline, a time of `time.monotonic`.

        Raises:
            OSError: if the connection fails, or the deadline passes.
            http.client.HTTPException: if the response is malformed or
                incomplete.
        """
        try:
            connection = self._connected(ends)
            try:
                connection.request(method, path, body, headers)
            except ConnectionError:
                # An error response may precede the end of the body.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    return self._read(connection.getresponse())
                raise
            return self._read(connection.getresponse())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def _read(self, response) -> Response:
        parts: list[bytes] = []
        while part := response.read1(1 << 20):
            parts.append(part)
        if response.length:
            raise http.client.IncompleteRead(b"".join(parts), response.length)
        marked = response.chunked or response.length is not None
        response.close()  # leaves the connection open
        if response.will_close:
            self.close()
        return Response(
            response.status,
            b"".join(parts),
            response.getheader("Retry-After", ""),
            marked,
        )

    def close(self):
        """Closes the connection; the next request opens another."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _connected(self, ends):
        if self._http is None:
            address = self._address
            secure = address.scheme == "https"
            usual = 443 if secure else 80
            host, port = address.hostname or "", address.port or usual
            opened = http.client.HTTPConnection(host, port)
            opened.default_port = usual  # omitted from the Host header
            self._socket = _opened(host, port, ends, secure)
            opened.sock = self._socket
            self._http = opened
        self._socket.ends = ends
        return self._http


def _opened(host, port, ends, secure):
    """Returns a connected socket; each address gets a share of the timeout."""
    error: OSError = TimeoutError("timed out")
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, place) in enumerate(places):
        left = max(ends - time.monotonic(), 1e-3)
        connected = _Socket(family, kind, protocol)
        try:
            connected.settimeout(left / (len(places) - number))
            connected.connect(place)
            # Send small requests at once.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not secure:
                return connected
            connected.settimeout(max(ends - time.monotonic(), 1e-3))
            context = ssl.create_default_context()
            context.sslsocket_class = _SecureSocket
            return context.wrap_socket(connected, server_hostname=host)
        except OSError as caught:
            connected.close()
            error = caught
    raise error
