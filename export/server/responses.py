"""JSON responses, and the version that a path requests."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from export.server.versions import NotServed, check_label


def json_now(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Returns a JSON response; names and values are UTF-8, not escaped."""
    return web.Response(
        body=_as_json(content),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def _as_json(content: Any) -> bytes:
    # Of a lone surrogate, backslashreplace makes the escape that JSON has.
    text = json.dumps(content, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace")


async def json_response(rows: int, content: Callable[[], Any]) -> web.Response:
    """Returns a JSON response, built in a thread if it has many rows."""

    def text():
        return _as_json(content())

    body = await asyncio.to_thread(text) if rows > 256 else text()
    return web.Response(body=body, content_type="application/json")


def error_response(
    status: int, message: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Returns an error response."""
    return json_now({"error": message}, status, headers)


def health_response(request: web.Request, key: str) -> web.Response:
    """Returns a health response in the format of the requested path."""
    if request.path.startswith("/v2"):
        return json_now({key: True})
    return web.Response(text="ok\n")


def requested_version(request: web.Request) -> int | None:
    """Returns the number of the version that a path requests, or None.

    Raises:
        NotServed: if the label is unknown, or the number is too long.
    """
    label = request.match_info.get("label")
    if label is not None:
        check_label(label)
    text = request.match_info.get("version")
    if text is None:
        return None
    if len(text) > 20:
        raise NotServed(f"version {text[:20]}... is not served.")
    return int(text)
