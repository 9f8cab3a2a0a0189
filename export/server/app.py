"""The server's application: its paths, responses and metrics."""

import asyncio
import contextlib
import functools
import importlib.resources
import math
import time

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from export.server import wire
from export.server.arrivals import Hosts
from export.server.batching import Overloaded
from export.server.connections import Connection
from export.server.grpc_service import INTERNAL_ERROR, Models, Predictions
from export.server.measures import Measures
from export.server.metadata import V2_SERVER, metadata, v2_metadata
from export.server.responses import (
    error_response,
    health_response,
    json_now,
    requested_version,
)
from export.server.scoring import Scoring
from export.server.versions import STABLE, NotServed, Versions, log
from export.version import published
from export.version.engines import Refused

VERBS = {
    ":predict": "predict",
    ":regress": "regress",
    ":classify": "classify",
    "/infer": "infer",
}


class Server:
    """Serves one model.

    Args:
        name: the model's name in requests.
        versions: the served version.
        measures: the metrics.
        body_s: timeout for a request's body, in seconds.
        poll_s: seconds between two checks for another version.
        hosts: allowed values of the Host header. Defaults to None, any.
    """

    def __init__(
        self,
        name: str,
        versions: Versions,
        measures: Measures,
        *,
        body_s: float,
        poll_s: float,
        hosts: Hosts | None = None,
    ):
        self._name = name
        self._versions = versions
        self._measures = measures
        self._body_s = body_s
        self._poll_s = poll_s
        self._hosts = hosts
        self._scoring = Scoring(name, versions, body_s)
        self._stopping = False
        self._active = 0  # requests

    def application(self, max_bytes: int) -> web.Application:
        """Returns the application.

        Args:
            max_bytes: largest size of a body.
        """
        self._scoring.max_bytes = max_bytes
        app = web.Application(
            client_max_size=max_bytes, middlewares=[self._respond]
        )
        get = app.router.add_get
        post = functools.partial(app.router.add_post, expect_handler=_later)
        model = f"/models/{self._name}"
        for version in ("", "/versions/{version:[0-9]+}", "/labels/{label}"):
            path = f"/v1{model}{version}"
            get(path, self._status)
            get(f"{path}/metadata", self._metadata)
            post(f"{path}:predict", self._scoring.predict)
            post(f"{path}:regress", self._scoring.regress)
            post(f"{path}:classify", self._scoring.classify)
            path = f"/v2{model}{version}"
            get(path, self._model)
            get(f"{path}/ready", self._model_ready)
            post(f"{path}/infer", self._scoring.infer)
        get(f"/v1{model}/example", self._example)
        get("/v2", self._server_metadata)
        for path in ("/healthz", "/v2/health/live"):
            get(path, self._alive)
        for path in ("/readyz", "/v2/health/ready"):
            get(path, self._ready)
        for path in ("/metrics", "/monitoring/prometheus/metrics"):
            get(path, self._metrics)
        get("/", self._page)
        app.cleanup_ctx.append(self._watch)
        return app

    async def _watch(self, app):
        """Checks for other versions while the application runs."""
        del app
        await self._versions.refresh()

        async def poll():
            last_error = ""
            while True:
                await asyncio.sleep(self._poll_s)
                try:
                    await self._versions.refresh()
                    last_error = ""
                except Exception as error:  # noqa: BLE001 it is retried
                    if str(error) != last_error:
                        log.error("failed to check for versions: %s", error)
                    last_error = str(error)

        task = asyncio.create_task(poll())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def services(self) -> tuple[Predictions, Models]:
        """Returns the gRPC services for the same versions."""
        shared = self._name, self._versions, self._measures
        return Predictions(*shared, self._scoring.admit), Models(*shared)

    async def drain(self, grace_s: float):
        """Reports not ready, and waits until all requests are answered.

        Args:
            grace_s: longest time to wait, in seconds.
        """
        self._stopping = True
        deadline = time.monotonic() + grace_s
        while self._active and time.monotonic() < deadline:
            await asyncio.sleep(0.01)

    @web.middleware
    async def _respond(self, request, handler):
        """Converts errors to JSON responses, and counts every response."""
        verb = next(
            (VERBS[end] for end in VERBS if request.path.endswith(end)), "other"
        )
        connection = request.protocol
        began = time.perf_counter()
        self._active += 1
        try:
            with contextlib.ExitStack() as stack:
                if isinstance(connection, Connection):
                    stack.enter_context(connection.busy(request))
                response = await self._response(request, handler)
        finally:
            self._active -= 1
        seconds = time.perf_counter() - began
        self._measures.note(verb, response.status, seconds, self._served)
        if self._stopping:
            response.force_close()
        elif "Retry-After" in response.headers:
            await self._delay_retry(request, response)
        return response

    async def _delay_retry(self, request, response):
        """Sends a 503 response, and delays the client's next request.

        Immediate retries would take time from requests that are served. The
        connection's next request is read after a pause. A client that opens
        a connection per request gets its response after half of it.
        """
        connection = request.protocol
        if isinstance(connection, Connection) and connection.requests == 1:
            await asyncio.sleep(self._scoring.arrivals.pause / 2)
            return
        await response.prepare(request)
        await response.write_eof()
        await asyncio.sleep(self._scoring.arrivals.pause)

    async def _response(self, request, handler):
        try:
            if self._hosts is not None:
                self._hosts.check(request.headers.get("Host", "localhost"))
            return await handler(request)
        except web.HTTPRequestEntityTooLarge as error:
            return error_response(
                413,
                f"the body is larger than --max_request_mb: {error.text}.",
            )
        except web.HTTPException as error:
            headers = {
                name: error.headers[name]
                for name in ("Allow", "Accept-Encoding")
                if name in error.headers
            }
            path = request.path[:200]
            return error_response(
                error.status,
                f"{request.method} {path}: {error.reason}{self._advice(error)}",
                headers,
            )
        except (wire.BadRequest, Refused) as error:
            return error_response(400, str(error))
        except RecursionError:  # JSON that was parsed but cannot be printed
            return error_response(400, "the body is nested too deeply.")
        except NotServed as error:
            return error_response(503 if error.none else 404, str(error))
        except Overloaded as error:
            wait = math.ceil(self._scoring.arrivals.pause)
            return error_response(503, str(error), {"Retry-After": str(wait)})
        except (asyncio.CancelledError, ConnectionError):  # client is gone
            raise
        except TimeoutError:
            return error_response(
                408, f"the body did not arrive within {self._body_s:g} s."
            )
        except Exception:  # noqa: BLE001 the server keeps running
            log.exception("%s %s", request.method, request.path)
            return error_response(500, INTERNAL_ERROR)

    def _advice(self, error):
        """Returns what an error on a path or a method ends with."""
        if error.status == 405:
            return f"; use {error.headers['Allow']}."
        if error.status == 404:
            return (
                f"; the paths of the served model are /v1/models/{self._name}, "
                "with :predict, :regress, :classify or /metadata after it, "
                f"and /v2/models/{self._name}."
            )
        return ""

    @property
    def _served(self) -> int | None:
        """The number of the served version, or None."""
        current = self._versions.current
        return current.published.version if current else None

    async def _server_metadata(self, request):
        del request
        return json_now(V2_SERVER)

    async def _model(self, request):
        async with self._versions.using(requested_version(request)) as loaded:
            return json_now(v2_metadata(self._name, loaded))

    async def _model_ready(self, request):
        async with self._versions.using(requested_version(request)):
            return json_now({"name": self._name, "ready": True})

    async def _status(self, request):
        label = request.match_info.get("label")
        version = (
            self._served if label == STABLE else requested_version(request)
        )
        states = self._versions.states(version)
        return json_now({"model_version_status": states})

    async def _metadata(self, request):
        async with self._versions.using(requested_version(request)) as loaded:
            return json_now(metadata(self._name, loaded))

    async def _example(self, request):
        del request
        async with self._versions.using(None) as loaded:
            example = loaded.published.example(published.EXAMPLE_ROWS)
            if example is None:
                raise web.HTTPNotFound()
            return json_now(example)

    async def _alive(self, request):
        return health_response(request, "live")

    async def _ready(self, request):
        if self._versions.current is None or self._stopping:
            return error_response(503, "no version is available.")
        return health_response(request, "ready")

    async def _metrics(self, request):
        del request
        return web.Response(
            body=self._measures.text(self._versions),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    async def _page(self, request):
        del request
        files = importlib.resources.files("export.server")
        page = files.joinpath("page.html").read_text(encoding="utf-8")
        return web.Response(
            text=page.replace("MODEL_NAME", self._name),
            content_type="text/html",
            headers={
                "Content-Security-Policy": "default-src 'none'; script-src "
                "'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
            },
        )


async def _later(request):
    """Defers Expect to the reader of the body, as it may be rejected first."""
    del request
