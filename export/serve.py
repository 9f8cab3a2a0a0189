"""Serves a published model on this machine: `python -m export.serve --help`.

The paths are those of TensorFlow Serving's REST interface; the page at / takes
features and shows the score. Exit codes: 0 stopped by a signal; 1 a fault in
the program; 2 the flags or the model break a rule.
"""

import asyncio
import errno
import logging
import re
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

from absl import flags

from export import program
from export.serve_flags import Serve, define
from trainer.settings import fields
from wukong_tf import extras
from wukong_tf.errors import ConfigError, ExportError


def run(argv, values: flags.FlagValues) -> int:
    """Serves until a signal to stop; returns the exit code."""
    logging.basicConfig(
        format="%(asctime)s %(message)s",
        level=logging.INFO,
        stream=sys.stderr,
        force=True,  # replaces absl's handler
    )
    logging.getLogger("tensorflow").setLevel(logging.ERROR)

    def work():
        settings = fields.from_flags(Serve, values)
        extras.require("the server", "aiohttp", "prometheus_client")
        if settings.grpc_port is not None:
            extras.require("--grpc_port", "grpc", "tensorflow_serving.apis")
        name = _checked_name(settings)
        for flag in ("port", "grpc_port"):
            _check_port(settings.host, flag, getattr(settings, flag))
        asyncio.run(_serve(settings, name))

    return program.exit_code(argv, work, "interrupted")


def _checked_name(settings: Serve) -> str:
    """Returns the model's name; raises WukongError if flags are invalid."""
    from export.version import published

    path, number = settings.model, settings.version
    paths = published.version_paths(path)
    if not paths:
        raise ExportError(
            f"--model={path} contains no published version; publish one with "
            "python -m export.main."
        )
    if number is not None and number not in paths:
        raise ExportError(
            f"--version={number}: must be one of the versions {sorted(paths)} "
            f"in {path}."
        )
    version = _first_readable(
        [paths[number]] if number in paths else [*paths.values()]
    )
    name = settings.name or version.manifest["model_name"]
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ConfigError(
            "--name must consist of letters, digits, '_', '.' and '-', as it "
            f"is part of a path; received {name!r}."
        )
    return name


def _check_port(host: str, flag: str, port: int | None):
    """Raises ConfigError if a port is taken, before a model is loaded.

    It is free again afterwards; opening it later may fail nevertheless.
    """
    if not port:
        return
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(
                        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1
                    )
                listener.bind(address)
    except OSError as error:
        # Others depend on what of several addresses the servers make.
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise _cannot_listen(host, flag, port, error) from error


def _cannot_listen(host, flag, port, error) -> ConfigError:
    return ConfigError(
        f"--host={host} --{flag}={port}: cannot listen there: {error}."
    )


def _first_readable(paths: list[str]):
    """Returns the first version that can be read; raises if none can."""
    from export.version import published

    errors = []
    for path in paths:
        try:
            return published.read(path)
        except ExportError as error:
            errors.append(error)
    raise errors[0]


async def _serve(settings: Serve, name: str):
    from aiohttp import web

    from export.server import connections
    from export.server.app import Server
    from export.server.arrivals import Hosts
    from export.server.measures import Measures

    measures = Measures(name)
    connections.allow_open_files(settings.max_connections)
    local = _is_loopback(settings.host)
    with ThreadPoolExecutor(2, "compute") as executor:
        versions = _versions(settings, executor, measures)
        server = Server(
            name,
            versions,
            measures,
            body_s=settings.body_timeout_s,
            poll_s=settings.poll_s,
            hosts=Hosts((settings.host, *settings.allow_hosts))
            if local
            else None,
        )
        runner = web.AppRunner(
            server.application(int(settings.max_request_mb * 1e6)),
            shutdown_timeout=1.0,  # all requests are answered by then
        )
        await runner.setup()
        try:
            if versions.current is None:
                raise ExportError(
                    f"--model={settings.model}: no version could be loaded; "
                    f"{versions.states()}."
                )
            # gRPC first, as TensorFlow takes seconds to import.
            grpc_server = await _open_grpc_port(settings, server)
            site = await _open_rest_port(settings, runner)
            _announce(name, settings.host, runner.addresses[0])
            await _stop_signal()
            logging.info("stopping")
            await site.stop()  # accepts no more connections
            await asyncio.gather(
                server.drain(settings.grace_s),
                *([grpc_server.stop(settings.grace_s)] if grpc_server else []),
            )
        finally:
            await runner.cleanup()


def _versions(settings, executor, measures):
    from export.server import loading, versions

    loads = loading.Settings(
        settings.engine,
        settings.threads,
        settings.max_batch_rows,
        settings.max_waiting_rows,
        settings.version,
        settings.verify,
    )
    return versions.Versions(
        settings.model, loads, executor, measures.note_rows
    )


async def _open_rest_port(settings, runner):
    """Opens the REST port; returns its site."""
    from export.server.connections import Site

    site = Site(
        runner,
        settings.host,
        settings.port,
        most=settings.max_connections,
        header_s=settings.header_timeout_s,
    )
    try:
        await site.start()
    except OSError as error:
        raise _cannot_listen(
            settings.host, "port", settings.port, error
        ) from error
    return site


async def _open_grpc_port(settings, server):
    """Opens the gRPC port, if any; returns its server or None."""
    if settings.grpc_port is None:
        return None
    from export.server import grpc_service

    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        predictions, models = server.services()
        grpc_server, port = await grpc_service.start(
            predictions,
            models,
            f"{host}:{settings.grpc_port}",
            int(settings.max_request_mb * 1e6),
        )
    except OSError as error:
        raise _cannot_listen(
            settings.host, "grpc_port", settings.grpc_port, error
        ) from error
    logging.info("gRPC on %s:%d", host, port)
    return grpc_server


def _announce(name, given_host, address):
    """Prints the server's address; warns if other machines can reach it."""
    host, port = address[:2]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not _is_loopback(given_host):
        logging.warning(
            "listening on %s: any client that can reach it can use the model",
            given_host,
        )
    print(
        f"serving {name} on http://{authority}/ (predict: "
        f"http://{authority}/v1/models/{name}:predict)",
        flush=True,
    )


def _is_loopback(host: str) -> bool:
    try:
        return socket.gethostbyname(host).startswith("127.")
    except OSError:
        return host in ("::1", "localhost")


async def _stop_signal():
    received = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received.set)
    await received.wait()


def main():
    """Runs the command `wukong-serve`."""
    program.start(__doc__, define, run)


if __name__ == "__main__":
    main()
