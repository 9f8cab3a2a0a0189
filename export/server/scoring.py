"""Handlers of the paths that score rows, examples and tensors."""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from export.served.naming import CLASSIFY, REGRESS
from export.server import calls, responses, v2, wire
from export.server.arrivals import (
    Admitted,
    Arrivals,
    body_size,
    read,
    spread,
)
from export.server.loading import Loaded
from export.server.versions import Versions


class Scoring:
    """Reads requests, scores their rows, and returns the responses.

    Args:
        name: the model's name in requests.
        versions: the served version.
        body_s: timeout for a request's body, in seconds.

    Attributes:
        arrivals: admission control.
        max_bytes: largest size of a body.
    """

    def __init__(self, name: str, versions: Versions, body_s: float):
        self._name = name
        self._versions = versions
        self._body_s = body_s
        self.arrivals = Arrivals(versions.max_waiting)
        self.max_bytes = 0

    @contextlib.asynccontextmanager
    async def admit(
        self, size: int, version: int | None
    ) -> AsyncIterator[tuple[Loaded, Admitted]]:
        """Admits a request; yields its version and its admission entry.

        Args:
            size: bytes of its body.
            version: requested version, or None.

        Raises:
            NotServed: if the version is not served.
            Overloaded: if too many rows wait.
        """
        async with self._versions.using(version) as loaded:
            waiting = loaded.waiting_rows
            with self.arrivals.admitted(size, waiting) as admitted:
                yield loaded, admitted

    def _admit(self, request):
        size = body_size(request, self.max_bytes)
        return self.admit(size, responses.requested_version(request))

    async def _body(self, request) -> bytes:
        return await read(request, self._body_s, self.max_bytes)

    async def predict(self, request: web.Request) -> web.Response:
        """Scores rows or columns."""
        async with self._admit(request) as (loaded, admitted):
            body = await self._body(request)
            content = await spread(len(body), wire.parse, body)
            scored = await calls.predict(loaded, content, len(body), admitted)
        return await responses.json_response(
            scored.rows,
            lambda: wire.predict_response(scored.outputs, scored.by_row),
        )

    async def regress(self, request: web.Request) -> web.Response:
        """Returns the probabilities of examples."""
        return await self._on_examples(
            request, REGRESS, lambda values: values.tolist()
        )

    async def classify(self, request: web.Request) -> web.Response:
        """Returns both classes of examples with their scores."""
        return await self._on_examples(request, CLASSIFY, calls.class_scores)

    async def _on_examples(self, request, kind: str, convert: Callable):
        async with self._admit(request) as (loaded, admitted):
            body = await self._body(request)
            content = await spread(len(body), wire.parse, body)
            values = await calls.on_examples(
                loaded, content, kind, len(body), admitted
            )
        return await responses.json_response(
            len(values), lambda: {"results": convert(values)}
        )

    async def infer(self, request: web.Request) -> web.Response:
        """Scores tensors in the Open Inference Protocol."""
        async with self._admit(request) as (loaded, admitted):
            body = await self._body(request)
            inference = await spread(
                len(body),
                v2.read,
                body,
                request.headers.get(v2.HEADER),
                loaded.engine.signatures,
            )
            scored = await calls.predict(
                loaded, inference.body, len(body), admitted
            )
        model = {
            "model_name": self._name,
            "model_version": str(loaded.published.version),
        }
        content, size = v2.response(inference, scored.outputs, model)
        kind = "application/json" if size is None else v2.OCTETS
        response = web.Response(body=content, content_type=kind)
        if size is not None:
            response.headers[v2.HEADER] = str(size)
        return response
