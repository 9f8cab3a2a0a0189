r"""A client of TensorFlow Serving's REST interface, in plain Python.

It requires only Python 3.11, and connection.py, json_http.py and retry.py of
this folder, which can be copied:

    client = RestClient("http://localhost:8501", "clicks")
    client.wait_until_ready(60)
    client.predict([{"user": 3, "item": 7}])  # [{"probability": ...}]

From the command line it sends rows given as JSON lines:

    python -m export.client.rest --server=http://localhost:8501 \
        --model=clicks < rows.jsonl
"""

import argparse
import json
import sys
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from export.client.json_http import JsonConnection, dumps
from export.client.retry import Client, ServerError, chunks


class RestClient(Client):
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
        self._http = JsonConnection(server, headers or {})
        super().__init__(
            self._http.address.geturl(),
            version,
            label,
            deadline_s,
            retries,
            backoff_s,
        )
        prefix = self._http.address.path.rstrip("/")
        self._path = f"{prefix}/v1/models/{urllib.parse.quote(model, safe='')}"
        if version is not None:
            self._path += f"/versions/{version}"
        if label is not None:
            self._path += f"/labels/{urllib.parse.quote(label, safe='')}"
        self._max_rows = max_rows

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
        return self._send_rows(
            "predict", "instances", "predictions", rows, signature
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
        response = self._post("predict", body, self._ends())
        outputs = self._field(response, "outputs", dict | list)
        rows = {
            len(values)
            for values in columns.values()
            if isinstance(values, list | tuple)
            or getattr(values, "shape", None)
        }
        lists = outputs.values() if isinstance(outputs, dict) else [outputs]
        for values in lists:
            # The context of candidates has a different number of rows.
            if not isinstance(values, list) or rows and len(values) not in rows:
                self._reject(f"outputs of {sorted(rows)} rows", response)
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
        return self._send_rows(
            "regress", "examples", "results", examples, signature, context
        )

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
        return self._send_rows(
            "classify", "examples", "results", examples, signature, context
        )

    def status(self) -> list[dict[str, Any]]:
        """Returns each version's number, state and error.

        Raises:
            ServerError: see `predict`; also if the server's status has
                another format, such as KServe's.
        """
        response = self._call("GET", "", None, self._ends())
        states = self._field(response, "model_version_status", list)
        if not all(isinstance(state, dict) for state in states):
            self._reject("objects in model_version_status", response)
        return states

    def metadata(self) -> dict[str, Any]:
        """Returns the signatures, as the server describes them."""
        response = self._call("GET", "/metadata", None, self._ends())
        self._field(response, "metadata", dict)
        return response

    def close(self):
        """Closes the connection; the next call opens another."""
        self._http.close()

    def _is_available(self, seconds):
        ends = time.monotonic() + seconds
        response = self._call("GET", "", None, ends, once=True)
        if not isinstance(response, dict):
            return False
        states = response.get("model_version_status")
        if not isinstance(states, list):
            # KServe's format, for a model without versions.
            return str(response.get("ready")).lower() == "true"
        return any(
            isinstance(state, dict) and state.get("state") == "AVAILABLE"
            for state in states
        )

    def _send_rows(self, verb, field, result, rows, signature, context=None):
        """Sends rows in requests of `max_rows`; returns their results."""
        ends = self._ends()
        results: list[Any] = []
        for chunk in chunks(len(rows), self._max_rows):
            body: dict[str, Any] = {field: list(rows[chunk])}
            if signature:
                body["signature_name"] = signature
            if context:
                body["context"] = dict(context)
            response = self._post(verb, body, ends)
            part = self._field(response, result, list)
            if len(part) != len(body[field]):
                self._reject(
                    f"{len(body[field])} {result}, one per row, and has "
                    f"{len(part)}",
                    response,
                )
            results += part
        return results

    def _post(self, verb, body, ends):
        return self._call("POST", f":{verb}", dumps(body), ends)

    def _call(self, method, path, body, ends, once=False):
        path = f"{self._path}{path}"
        return self._attempt(
            lambda left: self._http.request(method, path, body, left),
            ends,
            once,
        )

    def _field(self, response, field: str, kind) -> Any:
        """Returns a field of a response; raises if not of type `kind`."""
        content = response.get(field) if isinstance(response, dict) else None
        if not isinstance(content, kind):
            self._reject(f"{field!r} as TensorFlow Serving's does", response)
        return content

    def _reject(self, rule: str, response) -> NoReturn:
        text = json.dumps(response)
        raise ServerError(
            f"{self._server}: the response must have {rule}; received "
            f"{text if len(text) <= 200 else text[:200] + '...'}.",
            200,
        )


def main():
    """Reads rows from standard input; writes predictions as JSON lines."""
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
