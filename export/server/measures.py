"""The server's Prometheus metrics."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from export.server.versions import Versions

_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_ROWS = tuple(2**power for power in range(0, 13))


class Measures:
    """Metrics of the server.

    Args:
        model: the model's name, a label of all metrics.
    """

    def __init__(self, model: str):
        self._model = model
        registry = self.registry = CollectorRegistry()
        both = ["model", "version"]
        self._requests = Counter(
            "wukong_requests",
            "Requests by verb and by status of the response.",
            [*both, "verb", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "wukong_request_seconds",
            "Seconds from a request's headers to its response, of scored "
            "requests.",
            [*both, "verb"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rows = Histogram(
            "wukong_batch_rows",
            "Rows per computation.",
            both,
            buckets=_ROWS,
            registry=registry,
        )
        self._waiting_rows = Gauge(
            "wukong_waiting_rows", "Waiting rows.", ["model"], registry=registry
        )
        self._waiting_requests = Gauge(
            "wukong_waiting_requests",
            "Waiting requests.",
            ["model"],
            registry=registry,
        )
        self._version = Gauge(
            "wukong_version",
            "Number of the served version; 0 if none.",
            ["model"],
            registry=registry,
        )
        self._loads = Gauge(
            "wukong_version_loads",
            "Versions that were loaded or failed to load, by result.",
            ["model", "result"],
            registry=registry,
        )
        ProcessCollector(registry=registry)  # memory, CPU, open files

    def note(self, verb: str, status, seconds: float, version: int | None):
        """Counts a response; records its time only if the request was scored.

        Args:
            verb: e.g. "predict"; "other" if nothing was to be scored.
            status: number of the HTTP status, or name of the gRPC status.
            seconds: time from the headers to the response.
            version: the served version, or None.
        """
        labels = self._model, "" if version is None else str(version)
        self._requests.labels(*labels, verb, status).inc()
        if verb != "other" and status in (200, "OK"):
            self._seconds.labels(*labels, verb).observe(seconds)

    def note_rows(self, version: int, rows: int):
        """Records the number of rows of a computation."""
        self._rows.labels(self._model, str(version)).observe(rows)

    def text(self, versions: Versions) -> bytes:
        """Returns all metrics in Prometheus' text format.

        Args:
            versions: the served version.
        """
        current = versions.current
        self._version.labels(self._model).set(
            current.published.version if current else 0
        )
        self._waiting_rows.labels(self._model).set(
            current.waiting_rows if current else 0
        )
        self._waiting_requests.labels(self._model).set(
            current.waiting_requests if current else 0
        )
        for result, count in versions.loads.items():
            self._loads.labels(self._model, result).set(count)
        return generate_latest(self.registry)
