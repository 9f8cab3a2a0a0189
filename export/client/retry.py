"""Deadlines and back-off that the clients share."""

import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
# Less than this is too short a time for an attempt, in seconds.
SHORTEST = 0.02


class ServerError(RuntimeError):
    """A server's refusal, or that none answered in time.

    Attributes:
        code: status of the last answer: HTTP's number or gRPC's name; None
            where there was no answer.
    """

    def __init__(self, message: str, code: int | str | None = None):
        super().__init__(message)
        self.code = code


class Transient(Exception):
    """An attempt failed in a way that another one may not.

    Args:
        error: what is raised where no attempt is left.
        wait: seconds that the server asked to wait. Defaults to None.
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
    """Calls until an attempt succeeds or the time is over.

    Waits a random time of up to `backoff`, doubled after each attempt, so
    that many clients do not come back at once; toward the end at most half
    of the time that is left, so that the last attempt comes late.

    Args:
        call: takes the seconds that are left; raises `Transient` if it may
            be called again.
        deadline: seconds that all attempts may take together.
        retries: attempts after the first; None for as many as the deadline
            allows.
        backoff: longest wait before the second attempt, in seconds.
        max_backoff: longest wait at all, unless the server asks for a
            longer one. Defaults to 1 s.

    Raises:
        ServerError: of the last attempt.
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
    """Returns when `ready` says so.

    Args:
        ready: takes the seconds that are left; asked until it is True.
        timeout: longest time to ask, in seconds.
        every: seconds between two times.
        what: begins the error.

    Raises:
        ServerError: it is not after `timeout` seconds.
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
    """Refuses two ways to name one version.

    Raises:
        ValueError: both are given.
    """
    if version is not None and label is not None:
        raise ValueError(
            "`version` and `label` are two ways to name one version; "
            f"received version={version} and label={label!r}."
        )


def chunks(rows: int, largest: int) -> list[slice]:
    """`rows` rows in runs of at most `largest`; one empty run of none."""
    if largest < 1:
        raise ValueError(f"max_rows must be at least 1; received {largest}.")
    return [
        slice(first, min(first + largest, rows))
        for first in range(0, max(rows, 1), largest)
    ]
