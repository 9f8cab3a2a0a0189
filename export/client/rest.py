r"""A client of TensorFlow Serving's REST interface, in plain Python.

It requires only Python 3.11. This folder can be copied:

    client = RestClient("http://localhost:8501", "clicks")
    client.wait_until_ready(60)
    client.predict([{"user": 3, "item": 7}])  # [{"probability": ...}]

From the command line it sends rows given as JSON lines:

    python -m export.client.rest --server=http://localhost:8501 \
        --model=clicks < rows.jsonl
"""

import argparse
import base64
import http.client
import json
import math
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from export.client.connection import Connection
from export.client.retry import (
    ServerError,
    Transient,
    attempt,
    check_version,
    chunks,
    wait_until,
)

# Statuses after which a retry may succeed: the server, or a proxy before it,
# is busy, starting or stopping.
RETRIED = (408, 429, 502, 503, 504)
AVAILABLE = "AVAILABLE"


class RestClient:
    """Sends requests over one connection, kept alive and reopened if needed.

    It is not thread-safe; create one per thread.

    Args:
        server: address, e.g. "http://localhost:8501"; a path in it is
            prepended to the server's paths.
        model: name of the model.
        version: number of the version to use. Defaults to None, the one that
            the server chooses.
        label: label of the version to use, instead of its number. Defaults
            to None.
        deadline_s: longest time of a call, including all attempts and parts,
            in seconds. Defaults to 10 s.
        retries: attempts after the first. Defaults to None, as many as the
            deadline allows.
        backoff_s: longest wait before the second attempt, in seconds,
            doubled for each further one. Defaults to 0.1 s.
        max_rows: largest number of rows per request; a call with more sends
            several. Defaults to 1,024.
        headers: headers of every request, e.g. for a gateway. Defaults to
            None.

    Raises:
        ValueError: if the address is invalid, or both `version` and `label`
            are given.
    """

    def __init__(
        self,
        server: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        deadline_s: float = 10.0,
        retries: int | None = None,
        backoff_s: float = 0.1,
        max_rows: int = 1024,
        headers: Mapping[str, str] | None = None,
    ):
        address = _address(server)
        if address is None:
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
        self._connection = Connection(address)

    def predict(
        self, rows: Sequence[Any], signature: str | None = None
    ) -> list[Any]:
        """Returns the outputs for rows.

        Args:
            rows: each a dict of input to value, or the value itself if the
                signature has one input.
            signature: name of the signature. Defaults to None,
                "serving_default".

        Returns:
            For each row a dict of output to value, or the value itself if
            the signature has one output.

        Raises:
            ServerError: if the server rejects the request, with its message,
                or does not respond in time.
        """
        return self._in_parts("predict", "instances", "predictions")(
            rows, signature
        )

    def predict_columns(
        self, columns: Mapping[str, Any], signature: str | None = None
    ) -> Any:
        """Returns the outputs for columns, sent in one request.

        Args:
            columns: input to a list with a value per row, nested like its
                shape. Inputs may have different numbers of rows, such as the
                context of candidates.
            signature: name of the signature. Defaults to None,
                "serving_default".

        Returns:
            dict of output to list, or the list itself if the signature has
            one output.

        Raises:
            ServerError: see `predict`.
        """
        body: dict[str, Any] = {"inputs": columns}
        if signature:
            body["signature_name"] = signature
        answer = self._post("predict", body, self._ends())
        outputs = self._held(answer, "outputs", dict | list)
        rows = {
            len(each)
            for each in columns.values()
            if isinstance(each, list | tuple) or getattr(each, "shape", None)
        }
        for each in (
            outputs.values() if isinstance(outputs, dict) else [outputs]
        ):
            # The context of candidates has a different number of rows.
            if not isinstance(each, list) or rows and len(each) not in rows:
                self._refuse(f"outputs of {sorted(rows)} rows", answer)
        return outputs

    def regress(
        self,
        examples: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        signature: str = "regress",
    ) -> list[float]:
        """Returns the probabilities of examples.

        Args:
            examples: each a dict of feature to value or list.
            context: features that all examples share. Defaults to None.
            signature: name of the signature. Defaults to "regress".

        Raises:
            ServerError: see `predict`.
        """
        send = self._in_parts("regress", "examples", "results", context)
        return send(examples, signature)

    def classify(
        self,
        examples: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        signature: str = "classify",
    ) -> list[list[list[Any]]]:
        """Returns a list of [class, score] for each example.

        Args:
            examples: each a dict of feature to value or list.
            context: features that all examples share. Defaults to None.
            signature: name of the signature. Defaults to "classify".

        Raises:
            ServerError: see `predict`.
        """
        send = self._in_parts("classify", "examples", "results", context)
        return send(examples, signature)

    def status(self) -> list[dict[str, Any]]:
        """Returns each version's number, state and error.

        Raises:
            ServerError: see `predict`; also if the server's status has
                another format, such as KServe's.
        """
        answer = self._status(self._deadline)
        states = self._held(answer, "model_version_status", list)
        if not all(isinstance(each, dict) for each in states):
            self._refuse("objects as model_version_status", answer)
        return states

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures, as the server describes them."""
        path = f"{self._path}{self._version}/metadata"
        answer = self._call("GET", path, None, self._ends())
        self._held(answer, "metadata", dict)
        return answer

    def ready(self) -> bool:
        """Returns whether a matching version is available; asks once.

        A response is not enough, as a server also reports the states of
        versions that are loading or have failed.
        """
        return self._ready(self._deadline)

    def _ready(self, seconds):
        try:
            answer = self._status(min(seconds, self._deadline), once=True)
        except ServerError:
            return False
        if not isinstance(answer, dict):
            return False
        states = answer.get("model_version_status")
        if not isinstance(states, list):
            # KServe's format, for a model without versions.
            return str(answer.get("ready")).lower() == "true"
        return any(
            isinstance(each, dict) and each.get("state") == AVAILABLE
            for each in states
        )

    def _status(self, seconds, once=False):
        ends = time.monotonic() + seconds
        path = f"{self._path}{self._version}"
        return self._call("GET", path, None, ends, once)

    def wait_until_ready(self, timeout_s: float, every_s: float = 0.5):
        """Waits until a version is available.

        Raises:
            ServerError: if none is after `timeout_s` seconds.
        """
        wait_until(self._ready, timeout_s, every_s, self._address.geturl())

    def close(self):
        """Closes the connection; the next call opens another."""
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _ends(self):
        return time.monotonic() + self._deadline

    def _in_parts(self, verb, field, result, context=None):
        """Returns a function that sends rows in requests of `max_rows`."""

        def send(rows, signature):
            ends = self._ends()
            found: list[Any] = []
            for chunk in chunks(len(rows), self._max_rows):
                body: dict[str, Any] = {field: list(rows[chunk])}
                if signature:
                    body["signature_name"] = signature
                if context:
                    body["context"] = dict(context)
                answer = self._post(verb, body, ends)
                part = self._held(answer, result, list)
                if len(part) != len(body[field]):
                    self._refuse(
                        f"{len(body[field])} {result}, one for each row, and "
                        f"holds {len(part)}",
                        answer,
                    )
                found += part
            return found

        return send

    def _post(self, verb, body, ends):
        path = f"{self._path}{self._version}:{verb}"
        text = json.dumps(body, default=_plain)
        return self._call("POST", path, text.encode(), ends)

    def _held(self, answer, field: str, kind) -> Any:
        """Returns a field of a response; raises if not of type `kind`."""
        if not isinstance(answer, dict) or not isinstance(
            answer.get(field), kind
        ):
            self._refuse(f"{field!r} as TensorFlow Serving's do", answer)
        return answer[field]

    def _refuse(self, rule: str, answer) -> NoReturn:
        text = json.dumps(answer)
        raise ServerError(
            f"{self._address.netloc}{self._path}: the answer must hold {rule}; "
            f"received {text if len(text) <= 200 else text[:200] + '...'}.",
            200,
        )

    def _call(self, method, path, body, ends, once=False):
        return attempt(
            lambda left: self._once(method, path, body, left),
            deadline=ends - time.monotonic(),
            retries=0 if once else self._retries,
            backoff=self._backoff,
        )

    def _once(self, method, path, body, left):
        """Makes one attempt of at most `left` seconds."""
        where = f"{method} {self._address.netloc}{path}"
        headers = {"Content-Type": "application/json", **self._headers}
        ends = time.monotonic() + left
        reused = self._connection.open
        try:
            try:
                answer = self._connection.ask(method, path, body, headers, ends)
            except ConnectionError:
                if not reused:
                    raise
                # The server had closed the idle connection.
                answer = self._connection.ask(method, path, body, headers, ends)
        except (OSError, http.client.HTTPException) as error:
            said = f"{where}: {error or type(error).__name__}"
            raise Transient(ServerError(f"{said}.")) from error
        if answer.status == 200:
            try:
                return json.loads(answer.content)
            except (ValueError, RecursionError) as error:
                refused = ServerError(
                    f"{where}: the answer is no JSON: {error}.", 200
                )
                if not answer.marked:  # it may be incomplete
                    raise Transient(refused) from error
                raise refused from error
        refused = ServerError(
            f"{where}: status {answer.status}: {_error_of(answer.content)}",
            answer.status,
        )
        if answer.status in RETRIED:
            raise Transient(refused, _seconds(answer.retry_after)) from None
        raise refused


def _address(server: str) -> urllib.parse.SplitResult | None:
    """Returns the parts of a server's address, or None if it is invalid."""
    try:
        address = urllib.parse.urlsplit(server)
        port = address.port  # parsed on access
    except ValueError:
        return None
    known = address.scheme in ("http", "https") and port != 0
    return address if known and address.hostname else None


def _plain(value):
    """Returns NumPy values as lists or numbers, and bytes as base64."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")


def _error_of(content):
    try:
        return json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return content[:500].decode(errors="replace")


def _seconds(text):
    """Returns the seconds of a Retry-After header, or None."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


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
