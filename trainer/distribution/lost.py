"""Identifies a lost worker from the errors of the others' operations."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import context

from trainer.distribution.cluster import WORKER
from trainer.distribution.workers import Workers
from wukong_tf.errors import LostWorkerError

# Errors of collectives after the coordination service missed a heartbeat or
# a connection broke.
_ENDED = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)
_TASK = re.compile(rf"/job:{WORKER}(?:/replica:0)?/task:(\d+)")
_PROBE_MS = 2000


@contextlib.contextmanager
def named(workers: Workers) -> Iterator[None]:
    """Turns errors of operations into one that names the lost worker.

    Raises:
        LostWorkerError: another worker ended or no longer answers.
    """
    try:
        yield
    except _ENDED as error:
        if workers.count == 1:
            raise
        text = " ".join(error.message.split())
        lost = find_lost(text, workers) or _silent(workers)
        if not lost and "ollective" not in text:
            raise
        names = [f"worker {n} ({workers.addresses[n]})" for n in lost]
        raise LostWorkerError(
            f"worker {workers.index}: lost "
            f"{' and '.join(names) or 'another worker'}, which died or sent "
            "no heartbeat for --worker_timeout_s. The same command on all "
            "workers resumes from the last checkpoint."
        ) from error


def find_lost(text: str, workers: Workers) -> list[int]:
    """Returns the workers that an error names, except this one."""
    named = {int(number) for number in _TASK.findall(text)}
    for number, address in enumerate(workers.addresses):
        if re.search(rf":{address.rpartition(':')[2]}\b", text):
            named.add(number)
    if not named and "CoordinationService/Heartbeat" in text:
        named = {0}  # that service runs on the chief
    return sorted((named & set(range(workers.count))) - {workers.index})


def _silent(workers):
    """Returns the workers that do not answer a probe."""
    silent = []
    for number in range(workers.count):
        if number == workers.index:
            continue
        try:
            context.context().check_collective_ops_peer_health(
                f"/job:{WORKER}/replica:0/task:{number}",
                timeout_in_ms=_PROBE_MS,
            )
        except tf.errors.OpError:
            silent.append(number)
    return silent
