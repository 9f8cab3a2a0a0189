"""Deadlines and retries, shared by the clients."""

import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

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


def wait_until(
    ready: Callable[[float], bool], timeout: float, every: float, what: str
):
    """Waits until `ready` returns True.

    Args:
        ready: takes the seconds left; called until it returns True.
        timeout: longest time to wait, in seconds.
        every: seconds between two calls.
        what: start of the error message.

    Raises:
        ServerError: if it is not ready after `timeout` seconds.
    """
    ends = time.monotonic() + timeout
    while not ready(max(ends - time.monotonic(), 1e-3)):
        if time.monotonic() + every > ends:
            raise ServerError(
                f"{what}: no version of the model is available after "
                f"{timeout:g} s."
            )
        time.sleep(every)


def check_version(version: int | None, label: str | None):
    """Raises ValueError if both `version` and `label` are given."""
    if version is not None and label is not None:
        raise ValueError(
            "`version` and `label` are two ways to name one version; "
            f"received version={version} and label={label!r}."
        )


def chunks(rows: int, largest: int) -> list[slice]:
    """Splits `rows` rows into slices of at most `largest`, at least one."""
    if largest < 1:
        raise ValueError(f"max_rows must be at least 1; received {largest}.")
    return [
        slice(first, min(first + largest, rows))
        for first in range(0, max(rows, 1), largest)
    ]
