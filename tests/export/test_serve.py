"""What `export.serve` refuses before it loads a model."""

import socket

import pytest

from export import serve
from tests.programs import call


@pytest.mark.parametrize("flag", ["port", "grpc_port"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken(flag, host, monkeypatch, capsys):
    async def not_yet(*arguments):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("logging.basicConfig", lambda **kwargs: None)
    monkeypatch.setattr(serve, "_serve", not_yet)
    monkeypatch.setattr(serve, "_checked_name", lambda settings: "clicks")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        more = ["--port=0"] if flag == "grpc_port" else []
        own = ("--model=m", f"--host={host}", f"--{flag}={port}")
        assert call(serve, *own, *more) == 2
    said = capsys.readouterr().err
    assert (
        f"error: --host={host} --{flag}={port}: cannot listen there: " in said
    )
    assert "Address already in use" in said


def test_a_free_port_stays_free():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    serve._check_port("127.0.0.1", "port", port)
    serve._check_port("127.0.0.1", "port", 0)
    with socket.create_server(("127.0.0.1", port)):
        pass
