"""What arrives: who may send, how much may wait, and bodies in time."""

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

# Bodies above it are read in a thread, so that other requests go on.
LARGE_BODY = 1 << 16
ENCODINGS = ("gzip", "deflate")
_MEMORY = 0.95  # weight of earlier requests
# Bounds of the time after which a refused client may ask again, in seconds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 5.0


class Hosts:
    """The names that requests may call a server on loopback by.

    A page of the open Web can have its own name resolved to 127.0.0.1 (DNS
    rebinding); its requests then carry that name as their Host.

    Args:
        names: allowed besides those of loopback.
    """

    def __init__(self, names: tuple[str, ...] = ()):
        self._names = {"localhost", *(name.lower() for name in names)}

    def check(self, host: str):
        """Raises 403 unless a Host header names this machine."""
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
                reason=f"the Host {host[:100]!r} is not this machine's; "
                "--allow_hosts names others."
            )


class Arrivals:
    """Decides by their headers which requests are read at all.

    A body that has to be refused costs as much to read as one that is
    computed. Its rows are known after that only; before, they are guessed
    from its bytes and the rows of earlier ones.

    Args:
        most: rows that may wait.
    """

    def __init__(self, most: int):
        self._most = most
        self._bytes = self._rows = self._seconds = 0.0
        self.coming = 0.0

    @property
    def pause(self) -> float:
        """Seconds that a refused client should stay away.

        Four times as long as those that were not refused waited: who comes back
        earlier is refused again, at the cost of those that are served.
        """
        return min(max(4 * self._seconds, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    @contextlib.contextmanager
    def admitted(self, size: int, waiting: int) -> Iterator["Coming"]:
        """The time until a request waits itself, or has failed.

        Args:
            size: bytes of its body.
            waiting: rows that wait.

        Raises:
            Overloaded: it would be too many.
        """
        rows = size * self._rows / self._bytes if self._bytes else 0.0
        before = waiting + self.coming
        if before >= 1 and before + rows > self._most:
            raise Overloaded(int(before), self._most)
        coming = Coming(self, size, rows)
        self.coming += rows
        began = time.monotonic()
        try:
            yield coming
        finally:
            coming.leave()
        taken = time.monotonic() - began
        self._seconds = _MEMORY * self._seconds + (1 - _MEMORY) * taken

    def learn(self, size: int, rows: int):
        """Notes the bytes and rows of a request, if it said its bytes."""
        if not size:
            return
        self._bytes = _MEMORY * self._bytes + size
        self._rows = _MEMORY * self._rows + rows


class Coming:
    """A request that is read."""

    def __init__(self, all_: Arrivals, size: int, rows: float):
        self._all = all_
        self._size = size
        self._rows = rows

    def has(self, rows: int):
        """Its rows are known; it waits from now on."""
        self._all.learn(self._size, rows)
        self.leave()

    def leave(self):
        """It counts no more among those that are read."""
        self._all.coming -= self._rows
        self._rows = 0.0


def size_of(request: web.Request, most: int) -> int:
    """Returns the bytes that a body says it has, or 0 if it says nothing.

    Raises:
        web.HTTPRequestEntityTooLarge: they are more than `most`.
    """
    size = request.content_length or 0
    if size > most:
        raise web.HTTPRequestEntityTooLarge(most, size)
    return size


async def read(request: web.Request, seconds: float, most: int) -> bytes:
    """Reads the body of a request.

    Args:
        request: of which nothing has been read.
        seconds: longest time that it may take to arrive.
        most: largest size in bytes, as sent and decompressed.

    Raises:
        TimeoutError: it does not arrive in time.
        web.HTTPException: it is too large, or encoded in an unknown way.
        BadRequest: it is broken.
    """
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("identity", "", *ENCODINGS):
        raise web.HTTPUnsupportedMediaType(
            reason=f"Content-Encoding {encoding[:100]!r} is unknown; there are "
            f"{list(ENCODINGS)}.",
            headers={"Accept-Encoding": ", ".join(ENCODINGS)},
        )
    await _welcome(request)
    try:
        async with asyncio.timeout(seconds):
            body = await request.read()
    except web.RequestPayloadError as error:
        raise wire.BadRequest(
            f"the body is broken: {' '.join(str(error).split())[:200]}."
        ) from error
    if encoding in ENCODINGS:
        return await spread(len(body), _decompressed, body, encoding, most)
    return body


async def _welcome(request: web.Request):
    """Tells a client that waits for it to send its body.

    Raises:
        web.HTTPExpectationFailed: it waits for something else.
    """
    expected = request.headers.get("Expect", "")
    if not expected or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise web.HTTPExpectationFailed(
            reason=f"Expect {expected[:100]!r} is unknown; there is "
            "'100-continue'."
        )
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer has not begun


def _decompressed(body: bytes, encoding: str, most: int) -> bytes:
    """A body of gzip or deflate, of at most `most` bytes."""
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
    """The first `most` bytes; a file of gzip may have several parts."""
    if not body:
        raise EOFError("it is empty")
    with gzip.open(io.BytesIO(body)) as file:
        return file.read(most)


def _from_deflate(body: bytes, most: int) -> bytes:
    """The first `most` bytes; some send deflate without zlib's header."""
    failed: zlib.error | None = None
    # 32 takes both gzip's and zlib's header.
    for bits in (32 + zlib.MAX_WBITS, -zlib.MAX_WBITS):
        one = zlib.decompressobj(bits)
        try:
            content = one.decompress(body, most)
        except zlib.error as error:
            failed = failed or error
            continue
        if len(content) < most and (not one.eof or one.unused_data):
            raise zlib.error("it is cut short, or goes on after its end")
        return content
    raise failed or zlib.error("it is empty")


async def spread(size: int | None, function, *args) -> Any:
    """Returns a function's value, computed in a thread if a body is large."""
    if (size or LARGE_BODY) < LARGE_BODY:
        return function(*args)
    return await asyncio.to_thread(function, *args)
