"""The paths of the server, their answers, and what it measures."""

import asyncio
import contextlib
import importlib.resources
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from export.server import published, wire
from export.server.batching import Overloaded
from export.server.engines import Refused
from export.server.measures import Measures
from export.server.metadata import metadata_of
from export.server.published import PREDICT
from export.server.versions import Loaded, NotServed, Versions, log

# Bodies above it are read in a thread, so that other requests go on.
LARGE_BODY = 1 << 16
MAX_BYTES = web.AppKey("max_bytes", int)


class Server:
    """Serves one model.

    Args:
        name: that requests name the model by.
        versions: the version that is served.
        measures: counters.
        body_s: longest time that a body may take to arrive, in seconds.
        poll_s: seconds between two looks for another version.
    """

    def __init__(
        self,
        name: str,
        versions: Versions,
        measures: Measures,
        *,
        body_s: float,
        poll_s: float,
    ):
        self._name = name
        self._versions = versions
        self._measures = measures
        self._body_s = body_s
        self._poll_s = poll_s
        self._going = False
        self._at_work = 0

    def application(self, max_bytes: int) -> web.Application:
        """The application.

        Args:
            max_bytes: largest body.
        """
        app = web.Application(
            client_max_size=max_bytes, middlewares=[self._answered]
        )
        app[MAX_BYTES] = max_bytes
        model = f"/v1/models/{self._name}"
        version = r"/versions/{version:\d+}"
        for path in (model, model + version):
            app.router.add_get(path, self._status)
            app.router.add_get(f"{path}/metadata", self._metadata)
            for verb, handler in (
                ("predict", self._predict),
                ("regress", self._regress),
                ("classify", self._classify),
            ):
                app.router.add_post(f"{path}:{verb}", handler)
        app.router.add_get(f"{model}/example", self._example)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/monitoring/prometheus/metrics", self._metrics)
        app.router.add_get("/", self._page)
        app.cleanup_ctx.append(self._watch)
        return app

    async def _watch(self, app):
        """Looks for versions as long as the application runs."""
        del app
        await self._versions.refresh()

        async def look():
            while True:
                await asyncio.sleep(self._poll_s)
                try:
                    await self._versions.refresh()
                except Exception as error:  # noqa: BLE001 it looks again
                    log.error("versions cannot be looked at: %s", error)

        task = asyncio.create_task(look())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def leave(self, grace_s: float):
        """Is ready no more, and returns when all requests are answered.

        Args:
            grace_s: longest time to wait for them, in seconds.
        """
        self._going = True
        ends = time.monotonic() + grace_s
        while self._at_work and time.monotonic() < ends:
            await asyncio.sleep(0.01)

    @web.middleware
    async def _answered(self, request, handler):
        """Errors as JSON, and every answer counted."""
        verb = request.path.rpartition(":")[2]
        if verb not in ("predict", "regress", "classify"):
            verb = "other"
        began = time.perf_counter()
        self._at_work += 1
        try:
            response = await handler(request)
        except web.HTTPRequestEntityTooLarge as error:
            response = _refusal(
                413,
                f"the body is larger than --max_request_mb allows: "
                f"{error.text}.",
            )
        except web.HTTPException as error:
            response = _refusal(
                error.status, f"{request.method} {request.path}: {error.reason}"
            )
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except (wire.BadRequest, Refused) as error:
            response = _refusal(400, str(error))
        except NotServed as error:
            response = _refusal(503 if error.none else 404, str(error))
        except Overloaded as error:
            response = _refusal(503, str(error), {"Retry-After": "1"})
        except asyncio.CancelledError:  # whoever asked has gone
            raise
        except TimeoutError:
            response = _refusal(
                408, f"the body did not arrive in {self._body_s:g} s."
            )
        except Exception:  # noqa: BLE001 no fault ends the server
            log.exception("%s %s", request.method, request.path)
            response = _refusal(
                500, "the server has a fault, which is in its log."
            )
        finally:
            self._at_work -= 1
        if self._going:
            response.force_close()
        self._measures.requests.labels(verb, response.status).inc()
        if verb != "other":
            taken = time.perf_counter() - began
            self._measures.seconds.labels(verb).observe(taken)
        return response

    async def _body(self, request) -> dict[str, Any]:
        largest = request.app[MAX_BYTES]
        if (request.content_length or 0) > largest:
            raise web.HTTPRequestEntityTooLarge(largest, request.content_length)
        async with asyncio.timeout(self._body_s):
            body = await request.read()
        return await _spread(len(body), wire.parse, body)

    async def _predict(self, request):
        body = await self._body(request)
        async with self._versions.using(_version(request)) as loaded:
            forms = loaded.engine.forms
            name, columns, by_row = await _spread(
                request.content_length, wire.predict_request, body, forms
            )
            context = forms[name].context
            rows = max(len(v) for n, v in columns.items() if n not in context)
            outputs = await loaded.batchers[name].run(columns, rows)
            wanted = forms[name].outputs
            return await _json(
                rows,
                lambda: wire.predict_answer(
                    {each: outputs[each] for each in wanted}, by_row
                ),
            )

    async def _regress(self, request):
        return await self._on_examples(
            request, "regress", lambda values: values.tolist()
        )

    async def _classify(self, request):
        return await self._on_examples(
            request,
            "classify",
            lambda values: [
                [["0", 1 - value], ["1", value]] for value in values.tolist()
            ],
        )

    async def _on_examples(self, request, kind: str, answer: Callable):
        body = await self._body(request)
        async with self._versions.using(_version(request)) as loaded:
            output = _probability(loaded, body, kind)
            form = loaded.engine.forms[PREDICT]
            columns = await _spread(
                request.content_length, wire.examples_request, body, form
            )
            rows = len(next(iter(columns.values())))
            outputs = await loaded.batchers[PREDICT].run(columns, rows)
            return await _json(
                rows, lambda: {"results": answer(outputs[output])}
            )

    async def _status(self, request):
        version = _version(request)
        states = [
            each
            for each in self._versions.states()
            if version in (None, int(each["version"]))
        ]
        if version is not None and not states:
            raise NotServed(f"version {version} is not served.")
        return web.json_response({"model_version_status": states})

    async def _metadata(self, request):
        async with self._versions.using(_version(request)) as loaded:
            return web.json_response(metadata_of(self._name, loaded))

    async def _example(self, request):
        del request
        async with self._versions.using(None) as loaded:
            example = loaded.published.example(published.EXAMPLE_ROWS)
            if example is None:
                raise web.HTTPNotFound()
            return web.json_response(example)

    async def _alive(self, request):
        del request
        return web.Response(text="ok\n")

    async def _ready(self, request):
        del request
        if self._versions.current is None or self._going:
            return _refusal(503, "no version is available.")
        return web.Response(text="ok\n")

    async def _metrics(self, request):
        del request
        current = self._versions.current
        self._measures.version.set(current.published.version if current else 0)
        for result, count in self._versions.loads.items():
            self._measures.loads.labels(result).set(count)
        return web.Response(
            body=generate_latest(self._measures.registry),
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


async def _spread(size: int | None, function, *args):
    """A function's value, computed in a thread where a body is large."""
    if (size or LARGE_BODY) < LARGE_BODY:
        return function(*args)
    return await asyncio.to_thread(function, *args)


async def _json(rows: int, content: Callable[[], Any]) -> web.Response:
    """An answer, made in a thread where it is large."""

    def text():
        return json.dumps(content()).encode()

    body = await asyncio.to_thread(text) if rows > 256 else text()
    return web.Response(body=body, content_type="application/json")


def _version(request) -> int | None:
    text = request.match_info.get("version")
    return int(text) if text else None


def _refusal(status, message, headers=None):
    return web.json_response({"error": message}, status=status, headers=headers)


def _probability(loaded: Loaded, body, kind: str) -> str:
    """The output that a Regress or Classify body asks for."""
    tasks = loaded.published.tasks
    alone = len(tasks) == 1
    names = {kind if alone else f"{task}_{kind}": task for task in tasks}
    name = wire.signature_name(body, next(iter(names)), names)
    return tasks[names[name]]["probability"]
