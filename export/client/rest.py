r"""A client of TensorFlow Serving's REST interface, in plain Python.

It needs Python 3.11 alone, and can be copied with this folder:

    client = RestClient("http://localhost:8501", "clicks")
    client.wait_until_ready(60)
    client.predict([{"user": 3, "item": 7}])  # [{"probability": ...}]

From the command line it sends rows, as lines of JSON:

    python -m export.client.rest --server=http://localhost:8501 \
        --model=clicks < rows.jsonl
"""

import argparse
import base64
import http.client
import json
import socket
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from export.client.retry import (
    ServerError,
    Transient,
    attempt,
    check_version,
    chunks,
    wait_until,
)

# Answers after which the same request may succeed: the server, or what
# stands before it, is busy, starting or going.
RETRIED = (408, 429, 502, 503, 504)
AVAILABLE = "AVAILABLE"


class RestClient:
    """Sends requests over one connection, which it keeps and renews.

    It is not for several threads at once; make one for each.

    Args:
        server: address, such as "http://localhost:8501"; a path in it goes
            before the server's own.
        model: name of the model.
        version: number of the version to ask. Defaults to None, the one
            that the server chooses.
        label: label of the version to ask, instead of its number.
        deadline_s: longest time of a call, with all its attempts and
            parts. Defaults to 10 s.
        retries: attempts after the first. Defaults to 3.
        backoff_s: longest wait before the second attempt; it doubles.
            Defaults to 0.1 s.
        max_rows: rows in one request; a call with more sends several.
            Defaults to 1,024.
        headers: sent with every request, such as those of a gateway.

    Raises:
        ValueError: the address is none, or both version and label are
            given.
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        deadline_s: float = 10.0,
        retries: int = 3,
        backoff_s: float = 0.1,
        max_rows: int = 1024,
        headers: Mapping[str, str] | None = None,
    ):
        address = urllib.parse.urlsplit(server)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(
                "`server` must be http://HOST:PORT or https://HOST:PORT; "
                f"received {server!r}."
            )
        check_version(version, label)
        self._address = address
        self._path = f"{address.path.rstrip('/')}/v1/models/" + (
            urllib.parse.quote(model, safe="")
        )
        self._version = ""
        if version is not None:
            self._version = f"/versions/{version}"
        if label is not None:
            self._version = f"/labels/{urllib.parse.quote(label, safe='')}"
        self._deadline = deadline_s
        self._retries = retries
        self._backoff = backoff_s
        self._max_rows = max_rows
        self._headers = dict(headers or {})
        self._connection: http.client.HTTPConnection | None = None

    def predict(
        self, rows: Sequence[Any], signature: str | None = None
    ) -> list[Any]:
        """The outputs of some rows.

        Args:
            rows: each a dict of input to value; of a signature with one
                input, the value itself.
            signature: its name. Defaults to None, "serving_default".

        Returns:
            For each row a dict of output to value; of a signature with one
            output, the value itself.

        Raises:
            ServerError: the server refused the request, with what it said,
                or did not answer in time.
        """
        return self._in_parts("predict", "instances", "predictions")(
            rows, signature
        )

    def predict_columns(
        self, columns: Mapping[str, Any], signature: str | None = None
    ) -> Any:
        """The outputs of columns, in one request.

        Args:
            columns: input to a list with a value a row, as deep as its
                shape is. Inputs that need not have as many rows as the
                others, such as the context of candidates, go this way.
            signature: its name. Defaults to None, "serving_default".

        Returns:
            dict of output to list; of a signature with one output, the
            list itself.

        Raises:
            ServerError: as `predict` does.
        """
        body: dict[str, Any] = {"inputs": columns}
        if signature:
            body["signature_name"] = signature
        return self._post("predict", body, self._ends())["outputs"]

    def regress(
        self,
        examples: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        signature: str = "regress",
    ) -> list[float]:
        """The probabilities of examples.

        Args:
            examples: each a dict of feature to value or list.
            context: features that all of them share. Defaults to None.
            signature: its name. Defaults to "regress".

        Raises:
            ServerError: as `predict` does.
        """
        send = self._in_parts("regress", "examples", "results", context)
        return send(examples, signature)

    def classify(
        self,
        examples: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        signature: str = "classify",
    ) -> list[list[list[Any]]]:
        """For each example a list of [class, score].

        Args:
            examples: each a dict of feature to value or list.
            context: features that all of them share. Defaults to None.
            signature: its name. Defaults to "classify".

        Raises:
            ServerError: as `predict` does.
        """
        send = self._in_parts("classify", "examples", "results", context)
        return send(examples, signature)

    def status(self) -> list[dict[str, Any]]:
        """What the server says of each version: number, state, error."""
        answer = self._call(
            "GET", f"{self._path}{self._version}", None, self._ends()
        )
        return answer["model_version_status"]

    def metadata(self) -> dict[str, Any]:
        """The signatures, as the server describes them."""
        path = f"{self._path}{self._version}/metadata"
        return self._call("GET", path, None, self._ends())

    def ready(self) -> bool:
        """Whether a version that would be asked is available.

        An answer alone does not say so: a server tells the state of a
        version that is loading, or failed, just as well.
        """
        try:
            states = self.status()
        except ServerError:
            return False
        return any(each.get("state") == AVAILABLE for each in states)

    def wait_until_ready(self, timeout_s: float, every_s: float = 0.5):
        """Returns when a version is available.

        Raises:
            ServerError: none is after `timeout_s` seconds.
        """
        wait_until(self.ready, timeout_s, every_s, self._address.geturl())

    def close(self):
        """Closes the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _ends(self):
        return time.monotonic() + self._deadline

    def _in_parts(self, verb, field, result, context=None):
        """A function that sends rows in requests of `max_rows`."""

        def send(rows, signature):
            ends = self._ends()
            found: list[Any] = []
            for chunk in chunks(len(rows), self._max_rows):
                body: dict[str, Any] = {field: list(rows[chunk])}
                if signature:
                    body["signature_name"] = signature
                if context:
                    body["context"] = dict(context)
                found += self._post(verb, body, ends)[result]
            return found

        return send

    def _post(self, verb, body, ends):
        path = f"{self._path}{self._version}:{verb}"
        text = json.dumps(body, default=_plain)
        return self._call("POST", path, text.encode(), ends)

    def _call(self, method, path, body, ends):
        return attempt(
            lambda left: self._once(method, path, body, left),
            deadline=ends - time.monotonic(),
            retries=self._retries,
            backoff=self._backoff,
        )

    def _once(self, method, path, body, left):
        """One attempt, of at most `left` seconds."""
        where = f"{method} {self._address.netloc}{path}"
        ends = time.monotonic() + left
        reused = self._connection is not None
        try:
            connection = self._connected(left)
            headers = {"Content-Type": "application/json", **self._headers}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = _read(response, connection, ends)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if reused and isinstance(error, ConnectionError):
                # The server had closed it, as it had been idle.
                left = max(ends - time.monotonic(), 1e-3)
                return self._once(method, path, body, left)
            said = f"{where}: {error or type(error).__name__}"
            raise Transient(ServerError(f"{said}.")) from error
        if response.will_close:
            self.close()
        if response.status == 200:
            try:
                return json.loads(content)
            except ValueError as error:
                raise ServerError(
                    f"{where}: the answer is no JSON: {error}.", 200
                ) from error
        refused = ServerError(
            f"{where}: status {response.status}: {_error_of(content)}",
            response.status,
        )
        if response.status in RETRIED:
            raise Transient(refused, _seconds(response)) from None
        raise refused

    def _connected(self, left):
        if self._connection is None:
            kind: type[http.client.HTTPConnection] = http.client.HTTPConnection
            if self._address.scheme == "https":
                kind = http.client.HTTPSConnection
            self._connection = kind(
                self._address.hostname or "", self._address.port, timeout=left
            )
            self._connection.connect()
            # A small request is sent at once.
            self._connection.sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )
        self._connection.sock.settimeout(left)
        return self._connection


def _read(response, connection, ends):
    """The body, in what is left of the time however slowly it comes."""
    parts: list[bytes] = []
    while True:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come in time")
        if connection.sock is not None:
            connection.sock.settimeout(left)
        part = response.read1(1 << 20)
        if not part:
            response.close()  # which leaves the connection open
            return b"".join(parts)
        parts.append(part)


def _plain(value):
    """Arrays and NumPy's numbers as lists and numbers, bytes as base64."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")


def _error_of(content):
    try:
        return json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")


def _seconds(response):
    try:
        return float(response.getheader("Retry-After", ""))
    except ValueError:
        return None


def main():
    """Reads rows from the standard input, writes predictions as JSON lines."""
    from export.client.encode import read_rows  # needs NumPy

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--server", default="http://localhost:8501")
    parser.add_argument("--model", required=True)
    parser.add_argument("--signature")
    parser.add_argument("--label")
    parser.add_argument("--deadline_s", type=float, default=10.0)
    values = parser.parse_args()
    try:
        rows = read_rows(sys.stdin)
        with RestClient(
            values.server,
            values.model,
            label=values.label,
            deadline_s=values.deadline_s,
        ) as client:
            for prediction in client.predict(rows, values.signature):
                print(json.dumps(prediction))
    except (ValueError, ServerError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
