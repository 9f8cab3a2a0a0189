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
        self.registry = CollectorRegistry()
        version = ["model", "version"]

        def metric(kind, name, text, labels, **options):
            name = f"wukong_{name}"
            return kind(name, text, labels, registry=self.registry, **options)

        self._requests = metric(
            Counter,
            "requests",
            "Requests by verb and by status of the response.",
            [*version, "verb", "status"],
        )
        self._seconds = metric(
            Histogram,
            "request_seconds",
            "Seconds from a request's headers to its response, of scored "
            "requests.",
            [*version, "verb"],
            buckets=_SECONDS,
        )
        self._rows = metric(
            Histogram,
            "batch_rows",
            "Rows per computation.",
            version,
            buckets=_ROWS,
        )
        self._waiting_rows = metric(
            Gauge, "waiting_rows", "Waiting rows.", ["model"]
        )
        self._waiting_requests = metric(
            Gauge, "waiting_requests", "Waiting requests.", ["model"]
        )
        self._version = metric(
            Gauge,
            "version",
            "Number of the served version; 0 if none.",
            ["model"],
        )
        self._loads = metric(
            Gauge,
            "version_loads",
            "Versions that were loaded or failed to load, by result.",
            ["model", "result"],
        )
        ProcessCollector(registry=self.registry)  # memory, CPU, open files

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
