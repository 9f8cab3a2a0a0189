"""What the server counts, for Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

_SECONDS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
_ROWS = tuple(2**power for power in range(0, 13))


class Measures:
    """What Prometheus reads."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "wukong_requests",
            "Requests by what they ask for and the status of the answer.",
            ["verb", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "wukong_request_seconds",
            "Time from the body's arrival to the answer.",
            ["verb"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rows = Histogram(
            "wukong_batch_rows",
            "Rows of one computation.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.version = Gauge(
            "wukong_version",
            "Number of the version that is served; 0 for none.",
            registry=self.registry,
        )
        self.loads = Gauge(
            "wukong_version_loads",
            "Versions that were loaded, or failed to.",
            ["result"],
            registry=self.registry,
        )
