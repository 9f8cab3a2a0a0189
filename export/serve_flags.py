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
        "Directory of versions, as export.main's --output, which is watched "
        "for higher ones; or of a single version. Needed.",
        needed=True,
    )
    name: str | None = setting(
        None, "Name of the model in paths. Default: that of the export."
    )
    version: int | None = setting(
        None,
        "The only version to serve, to stay with it or to go back to it. "
        "Default: the highest.",
    )
    verify: bool = setting(
        True,
        "Compare a version's files with the SHA-256 in its manifest before "
        "it is loaded. --verify=false if something else has checked them.",
    )
    engine: Literal["auto", "onnx", "saved_model"] = setting(
        "auto",
        "What computes. auto: ONNX where it was published and requests hold "
        "ids, else the SavedModel.",
    )
    host: str = setting(
        "127.0.0.1",
        "Address to listen on. Other machines reach 0.0.0.0 or a public one: "
        "there is neither a password nor encryption.",
    )
    port: int = setting(
        8501,
        "Port; 0 takes a free one and prints it.",
        minimum=0,
        maximum=65535,
    )
    grpc_port: int | None = setting(
        None,
        "Port of TensorFlow Serving's gRPC interface; 0 takes a free one and "
        "prints it. Default: none.",
        minimum=0,
        maximum=65535,
    )
    threads: int | None = setting(
        None, "Threads of one computation. Default: all processors.", minimum=1
    )
    max_batch_rows: int = setting(
        512,
        "Rows of one computation. Requests that wait are joined up to it, "
        "larger ones are cut.",
        minimum=1,
    )
    max_waiting_rows: int = setting(
        8192, "Rows that may wait; requests beyond are answered 503.", minimum=1
    )
    max_request_mb: float = setting(
        16.0, "Largest body, in millions of bytes.", minimum=0.001
    )
    body_timeout_s: float = setting(
        10.0, "Longest time that a body may take to arrive.", minimum=0.1
    )
    header_timeout_s: float = setting(
        10.0,
        "Longest time that a request's headers may take to arrive.",
        minimum=0.1,
    )
    max_connections: int = setting(
        2000,
        "Connections that may be open at once; those beyond are answered 503.",
        minimum=1,
    )
    allow_hosts: tuple[str, ...] = setting(
        (),
        "On loopback: names that requests may call the server by, besides "
        "those of loopback. A proxy may pass on its own.",
    )
    poll_s: float = setting(
        1.0, "Seconds between two looks for another version.", minimum=0.05
    )
    grace_s: float = setting(
        10.0,
        "Seconds that requests at work may take after a signal to stop.",
        minimum=0.0,
    )


define = functools.partial(fields.define, Serve)
