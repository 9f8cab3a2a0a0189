"""The settings of `python -m export.serve`."""

import dataclasses
import functools
from typing import Literal

from trainer.settings import fields
from trainer.settings.fields import Settings, setting


@dataclasses.dataclass(frozen=True)
class Serve(Settings):
    """Server."""

    model: str = setting(
        None,
        "Directory of versions, export.main's --output, which is watched for "
        "higher ones; or of a single version. Required.",
        needed=True,
    )
    name: str | None = setting(
        None, "Model name in URLs. Default: the name it was exported with."
    )
    version: int | None = setting(
        None,
        "The only version to serve, to pin it or to roll back to it. Default: "
        "the highest.",
    )
    verify: bool = setting(
        True,
        "Whether to compare a version's files with the SHA-256 in its manifest "
        "before loading it. Disable it only if they are verified elsewhere.",
    )
    engine: Literal["auto", "onnx", "saved_model"] = setting(
        "auto",
        "Runtime that computes scores. auto: ONNX if the version has it and "
        "requests hold ids, else the SavedModel.",
    )
    host: str = setting(
        "127.0.0.1",
        "Address to listen on. With 0.0.0.0 or a public address, other "
        "machines can connect, without authentication or encryption.",
    )
    port: int = setting(
        8501,
        "REST port; 0 chooses a free one and prints it.",
        minimum=0,
        maximum=65535,
    )
    grpc_port: int | None = setting(
        None,
        "Port of TensorFlow Serving's gRPC interface; 0 chooses a free one and "
        "prints it. Default: gRPC is disabled.",
        minimum=0,
        maximum=65535,
    )
    threads: int | None = setting(
        None, "Threads per computation. Default: all processors.", minimum=1
    )
    max_batch_rows: int = setting(
        512,
        "Largest number of rows per computation. Waiting requests are batched "
        "up to it; larger requests are split.",
        minimum=1,
    )
    max_waiting_rows: int = setting(
        8192,
        "Largest number of waiting rows; further requests get status 503.",
        minimum=1,
    )
    max_request_mb: float = setting(
        16.0, "Largest request body, in megabytes of 10^6 bytes.", minimum=0.001
    )
    body_timeout_s: float = setting(
        10.0, "Timeout for a request's body, in seconds.", minimum=0.1
    )
    header_timeout_s: float = setting(
        10.0, "Timeout for a request's headers, in seconds.", minimum=0.1
    )
    max_connections: int = setting(
        2000,
        "Largest number of open connections; further ones get status 503.",
        minimum=1,
    )
    allow_hosts: tuple[str, ...] = setting(
        (),
        "Values of the Host header to accept on loopback, in addition to those "
        "of loopback; for example the name of a proxy.",
    )
    poll_s: float = setting(
        1.0, "Seconds between two checks for new versions.", minimum=0.05
    )
    grace_s: float = setting(
        10.0,
        "Seconds that running requests may take after a signal to stop.",
        minimum=0.0,
    )


define = functools.partial(fields.define, Serve)
