"""Deadlines, retries and readiness, shared by the clients."""

import itertools
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
# Shortest time for an attempt, in seconds.
SHORTEST = 0.02


class ServerError(RuntimeError):
    """Raised if a server rejects a request or does not respond in time.

    Attributes:
        code: status of the last response, an HTTP number or a gRPC name; None
            if there was no response.
    """

    def __init__(self, message: str, code: int | str | None = None):
        super().__init__(message)
        self.code = code


class Transient(Exception):
    """Raised if an attempt fails that may succeed when retried.

    Args:
        error: error to raise if no attempt is left.
        wait: seconds to wait, as requested by the server. Defaults to None.
    """

    def __init__(self, error: ServerError, wait: float | None = None):
        super().__init__(str(error))
        self.error = error
        self.wait = wait


def attempt(
    call: Callable[[float], Result],
    *,
    deadline: float,
    retries: int | None,
    backoff: float,
    max_backoff: float = 1.0,
) -> Result:
    """Calls until an attempt succeeds or the deadline passes.

    Waits a random time between attempts, of up to `backoff`, doubled after
    each, so that many clients do not retry at once; but at most half of the
    time left, so that the last attempt is close to the deadline.

    Args:
        call: takes the seconds left; raises `Transient` if it may be called
            again.
        deadline: total time of all attempts, in seconds.
        retries: number of attempts after the first; None for as many as the
            deadline allows.
        backoff: longest wait before the second attempt, in seconds.
        max_backoff: longest wait, unless the server requests a longer one.
            Defaults to 1 s.

    Raises:
        ServerError: if the last attempt fails.
    """
    ends = time.monotonic() + deadline
    for number in itertools.count():
        try:
            return call(max(ends - time.monotonic(), 1e-3))
        except Transient as failed:
            left = ends - time.monotonic()
            longest = min(backoff * 2 ** min(number, 30), max_backoff)
            wait = min(random.uniform(0, longest), left / 2)
            if failed.wait is not None:
                wait = max(wait, failed.wait)
            if number == retries or left < SHORTEST or wait >= left:
                raise failed.error from failed
            time.sleep(wait)
    raise AssertionError("unreachable")


class Client:
    """Base class of the clients.

    Args:
        server: the server's address, for messages.
        version: number of the version to use, or None.
        label: label of the version to use, or None.
        deadline_s: longest time of a call, in seconds.
        retries: attempts after the first, or None.
        backoff_s: longest wait before the second attempt, in seconds.

    Raises:
        ValueError: if both `version` and `label` are given.
    """

    def __init__(
        self,
        server: str,
        version: int | None,
        label: str | None,
        deadline_s: float,
        retries: int | None,
        backoff_s: float,
    ):
        if version is not None and label is not None:
            raise ValueError(
                "only one of `version` and `label` may be given; received "
                f"version={version} and label={label!r}."
            )
        self._server = server
        self._deadline = deadline_s
        self._retries = retries
        self._backoff = backoff_s

    def ready(self) -> bool:
        """Returns whether a matching version is available; sends one request.

        A response is not enough, as a server also reports the states of
        versions that are loading or have failed.
        """
        return self._is_ready(self._deadline)

    def wait_until_ready(self, timeout_s: float, every_s: float = 0.5):
        """Waits until a version is available.

        Args:
            timeout_s: longest time to wait, in seconds.
            every_s: seconds between two requests. Defaults to 0.5 s.

        Raises:
            ServerError: if none is after `timeout_s` seconds.
        """
        ends = time.monotonic() + timeout_s
        while not self._is_ready(max(ends - time.monotonic(), 1e-3)):
            if time.monotonic() + every_s > ends:
                raise ServerError(
                    f"{self._server}: no version of the model is available "
                    f"after {timeout_s:g} s."
                )
            time.sleep(every_s)

    def close(self):
        """Closes the connection."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _is_ready(self, seconds: float) -> bool:
        try:
            return self._is_available(min(seconds, self._deadline))
        except ServerError:
            return False

    def _is_available(self, seconds: float) -> bool:
        """Returns whether a version is available, by a single attempt."""
        raise NotImplementedError

    def _ends(self) -> float:
        """Returns the deadline of a call that starts now."""
        return time.monotonic() + self._deadline

    def _attempt(
        self, call: Callable[[float], Any], ends: float, once: bool = False
    ) -> Any:
        """Calls `attempt` with the client's settings, until `ends`."""
        return attempt(
            call,
            deadline=ends - time.monotonic(),
            retries=0 if once else self._retries,
            backoff=self._backoff,
        )


def chunks(rows: int, largest: int) -> list[slice]:
    """Splits `rows` rows into slices of at most `largest`, at least one."""
    if largest < 1:
        raise ValueError(f"max_rows must be at least 1; received {largest}.")
    return [
        slice(first, min(first + largest, rows))
        for first in range(0, max(rows, 1), largest)
    ]
