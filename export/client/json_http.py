"""Single requests of JSON over HTTP, and which of them may be retried."""

import base64
import http.client
import json
import math
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from export.client.connection import Connection, Response
from export.client.retry import ServerError, Transient

# Statuses after which a retry may succeed: the server, or a proxy before it,
# is busy, starting or stopping.
RETRIED = (408, 429, 502, 503, 504)


class JsonConnection:
    """Sends requests over one connection, kept alive and reopened if needed.

    Args:
        server: the server's address, http or https.
        headers: headers of every request.

    Raises:
        ValueError: if the address is invalid.
    """

    def __init__(self, server: str, headers: Mapping[str, str]):
        self.address = _parse_address(server)
        self._headers = {"Content-Type": "application/json", **headers}
        self._connection = Connection(self.address)

    def request(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> Any:
        """Makes one attempt; returns the JSON of the response.

        Args:
            method: HTTP method.
            path: path, with its leading slash.
            body: body of the request, or None.
            seconds: longest time, in seconds.

        Raises:
            Transient: if a retry may succeed.
            ServerError: if the server rejects the request.
        """
        request = f"{method} {self.address.netloc}{path}"
        try:
            response = self._ask(method, path, body, seconds)
        except (OSError, http.client.HTTPException) as error:
            message = f"{request}: {error or type(error).__name__}."
            raise Transient(ServerError(message)) from error
        if response.status == 200:
            try:
                return json.loads(response.content)
            except (ValueError, RecursionError) as error:
                refused = ServerError(
                    f"{request}: the response is not valid JSON: {error}.", 200
                )
                if not response.marked:  # it may be incomplete
                    raise Transient(refused) from error
                raise refused from error
        message = _error_text(response.content)
        refused = ServerError(
            f"{request}: status {response.status}: {message}", response.status
        )
        if response.status in RETRIED:
            raise Transient(refused, _seconds(response.retry_after)) from None
        raise refused

    def _ask(self, method, path, body, seconds) -> Response:
        ends = time.monotonic() + seconds
        reused = self._connection.open
        try:
            return self._connection.ask(method, path, body, self._headers, ends)
        except ConnectionError:
            if not reused:
                raise
        # The server had closed the idle connection.
        return self._connection.ask(method, path, body, self._headers, ends)

    def close(self):
        """Closes the connection; the next request opens another."""
        self._connection.close()


def dumps(body: Any) -> bytes:
    """Returns JSON; NumPy values as lists or numbers, bytes as base64."""
    return json.dumps(body, default=_plain).encode()


def _plain(value):
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _parse_address(server: str) -> urllib.parse.SplitResult:
    try:
        address = urllib.parse.urlsplit(server)
        if address.scheme in ("http", "https") and address.hostname:
            if address.port != 0:  # parsed on access
                return address
    except ValueError:
        pass
    raise ValueError(
        "`server` must be http://HOST:PORT or https://HOST:PORT; received "
        f"{server!r}."
    )


def _error_text(content: bytes) -> str:
    try:
        return json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return content[:500].decode(errors="replace")


def _seconds(text: str) -> float | None:
    """Returns the seconds of a Retry-After header, or None."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
