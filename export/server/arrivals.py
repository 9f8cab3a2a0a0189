"""Admission of requests by host and load, and reading of their bodies."""

import asyncio
import contextlib
import gzip
import io
import ipaddress
import time
import zlib
from collections.abc import Iterator
from typing import Any

from aiohttp import HttpVersion11, web

from export.server import wire
from export.server.batching import Overloaded

# Larger bodies are parsed in a thread, so that other requests proceed.
LARGE_BODY = 1 << 16
ENCODINGS = ("gzip", "deflate")
_MEMORY = 0.95  # decay of the averages per request
# Bounds of the time after which a rejected client may retry, in seconds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 5.0


class Hosts:
    """Allowed Host headers of a server on loopback.

    A public web page can make its own name resolve to 127.0.0.1 (DNS
    rebinding); its requests then have that name as their Host.

    Args:
        names: allowed names besides those of loopback. Defaults to ().
    """

    def __init__(self, names: tuple[str, ...] = ()):
        self._names = {"localhost", *(name.lower() for name in names)}

    def check(self, host: str):
        """Raises HTTPForbidden unless a Host header names this machine."""
        name, _, port = host.rpartition(":")
        if host.count(":") > 1 and not host.startswith("["):
            name = host  # IPv6 without a port
        elif not name or not port.isdigit():
            name = host
        name = name.strip("[]").lower().removesuffix(".")
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(name).is_loopback:
                return
        if name not in self._names and not name.endswith(".localhost"):
            raise web.HTTPForbidden(
                reason=f"the Host {host[:100]!r} is not a name of this "
                "machine; allow others with --allow_hosts."
            )


class Arrivals:
    """Admission control that decides by a request's headers whether to read it.

    Reading a body that is then rejected costs as much as one that is scored.
    Its number of rows is known only after reading; before, it is estimated
    from its bytes and the rows per byte of earlier requests.

    Args:
        most: largest number of waiting rows.
    """

    def __init__(self, most: int):
        self._most = most
        self._bytes = self._rows = self._seconds = 0.0
        self.unread = 0.0  # estimated rows of requests that are being read

    @property
    def pause(self) -> float:
        """Seconds after which a rejected client should retry.

        Four times the average time of admitted requests: a client that
        retries earlier is rejected again, at the cost of others.
        """
        return min(max(4 * self._seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    @contextlib.contextmanager
    def admitted(self, size: int, waiting: int) -> Iterator["Admitted"]:
        """Counts a request as unread until its rows wait, or the block ends.

        Args:
            size: bytes of its body.
            waiting: number of waiting rows.

        Raises:
            Overloaded: if too many rows would wait.
        """
        rows = size * self._rows / self._bytes if self._bytes else 0.0
        before = waiting + self.unread
        if before >= 1 and before + rows > self._most:
            raise Overloaded(int(before), self._most)
        admitted = Admitted(self, size, rows)
        self.unread += rows
        began = time.monotonic()
        try:
            yield admitted
        finally:
            admitted.release()
        seconds = time.monotonic() - began
        self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * seconds

    def learn(self, size: int, rows: int):
        """Updates the averages by a request's bytes, if known, and rows."""
        if not size:
            return
        self._bytes = _MEMORY * self._bytes + size
        self._rows = _MEMORY * self._rows + rows


class Admitted:
    """A request that is being read."""

    def __init__(self, arrivals: Arrivals, size: int, rows: float):
        self._arrivals = arrivals
        self._size = size
        self._rows = rows

    def is_read(self, rows: int):
        """Notes that the request is read and its `rows` now wait."""
        self._arrivals.learn(self._size, rows)
        self.release()

    def release(self):
        """Stops counting the request as being read."""
        self._arrivals.unread -= self._rows
        self._rows = 0.0


def body_size(request: web.Request, most: int) -> int:
    """Returns the size of a body by its header, or 0 if not given.

    Raises:
        web.HTTPRequestEntityTooLarge: if it is more than `most`.
    """
    size = request.content_length or 0
    if size > most:
        raise web.HTTPRequestEntityTooLarge(most, size)
    return size


async def read(request: web.Request, seconds: float, most: int) -> bytes:
    """Reads the body of a request.

    Args:
        request: a request whose body has not been read.
        seconds: timeout, in seconds.
        most: largest size in bytes, both as sent and decompressed.

    Raises:
        TimeoutError: if it does not arrive in time.
        web.HTTPException: if it is too large or has an unknown encoding.
        BadRequest: if it cannot be decompressed.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "", *ENCODINGS):
        raise web.HTTPUnsupportedMediaType(
            reason=f"Content-Encoding must be one of {list(ENCODINGS)}; "
            f"received {encoding[:100]!r}.",
            headers={"Accept-Encoding": ", ".join(ENCODINGS)},
        )
    await _continue(request)
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except web.RequestPayloadError as error:
        raise wire.BadRequest(
            f"the body is malformed: {' '.join(str(error).split())[:200]}."
        ) from error
    if encoding in ENCODINGS:
        return await spread(len(body), _decompressed, body, encoding, most)
    return body


async def _continue(request: web.Request):
    """Sends 100 Continue if the client expects it.

    Raises:
        web.HTTPExpectationFailed: if the client expects something else.
    """
    expected = request.headers.get("Expect", "")
    if not expected or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(
            reason=f"Expect must be '100-continue'; received "
            f"{expected[:100]!r}."
        )
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the response has not begun


def _decompressed(body: bytes, encoding: str, most: int) -> bytes:
    """Decompresses a body of gzip or deflate, of at most `most` bytes."""
    try:
        if encoding == "gzip":
            content = _from_gzip(body, most + 1)
        else:
            content = _from_deflate(body, most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise wire.BadRequest(
            f"the body cannot be decompressed: {error}."
        ) from error
    if len(content) > most:
        raise web.HTTPRequestEntityTooLarge(most, len(content))
    return content


def _from_gzip(body: bytes, most: int) -> bytes:
    """Returns the first `most` bytes; gzip may have several members."""
    if not body:
        raise EOFError("it is empty")
    with gzip.open(io.BytesIO(body)) as file:
        return file.read(most)


def _from_deflate(body: bytes, most: int) -> bytes:
    """Returns the first `most` bytes; zlib's header may be missing."""
    failed: zlib.error | None = None
    # 32 accepts the headers of both gzip and zlib.
    for bits in (32 + zlib.MAX_WBITS, -zlib.MAX_WBITS):
        stream = zlib.decompressobj(bits)
        try:
            content = stream.decompress(body, most)
        except zlib.error as error:
            failed = failed or error
            continue
        if len(content) < most and (not stream.eof or stream.unused_data):
            raise zlib.error("it is truncated, or has trailing bytes")
        return content
    raise failed or zlib.error("it is empty")


async def spread(size: int | None, function, *args) -> Any:
    """Returns a function's result, computed in a thread if a body is large."""
    if (size or LARGE_BODY) < LARGE_BODY:
        return function(*args)
    return await asyncio.to_thread(function, *args)
