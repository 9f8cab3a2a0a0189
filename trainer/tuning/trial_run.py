"""The process that trains a trial, and the results that it logs."""

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from trainer.distribution.processes import end_with_parent
from trainer.process.stop_signal import EXIT_RESUME
from trainer.report.learning import read_log
from trainer.settings.optimization import IF_DIVERGED
from wukong_tf import files, runs
from wukong_tf.errors import RunError

PROGRAM: tuple[str, ...] = (sys.executable, "-m", "trainer.main")
GRACE_S = 60.0  # from SIGTERM to SIGKILL
_KILLED = 137  # exit code of a shell whose program was killed
_LOCK = "lock"  # of the trainer
_METRICS = "metrics.jsonl"


class Restarts:
    """How often a run may go on after others ended its process.

    A process that was stopped goes on three times. One that was killed,
    perhaps for want of memory, goes on once.
    """

    def __init__(self):
        self._left = {EXIT_RESUME: 3, _KILLED: 1}

    def take(self, code: int) -> str:
        """Returns what happened to the process; "" if it is not to go on."""
        kind = _KILLED if code < 0 else code
        if not self._left.get(kind):
            return ""
        self._left[kind] -= 1
        return (
            "was killed"
            if kind == _KILLED
            else "was stopped by another process"
        )


class TrialRun:
    """A run of the trainer in a process of its own.

    What it prints is appended to RUN_DIR.log.

    Args:
        run_dir: the run directory.
        arguments: arguments of the trainer.
        environment: variables in addition to those of this process.

    Attributes:
        stopped_for: why `stop` was called; "" if it was not.

    Raises:
        RunError: another process trains in the directory.
    """

    def __init__(
        self,
        run_dir: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ):
        self.run_dir = run_dir
        self.stopped_for = ""
        self._stopped_at = math.inf
        _wait_until_free(run_dir)
        self._began = time.monotonic()
        with open(f"{run_dir}.log", "ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                # Ctrl-C reaches only the tuner, which stops the trials.
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    @property
    def seconds(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self._began

    def poll(self) -> int | None:
        """Returns the exit code, or None while the process runs.

        A process that does not end within GRACE_S of `stop` is killed.
        """
        code = self._process.poll()
        if code is None and time.monotonic() - self._stopped_at > GRACE_S:
            self._process.kill()
        return code

    def stop(self, reason: str) -> None:
        """Sends SIGTERM, once."""
        if not self.stopped_for:
            self.stopped_for = reason
            self._stopped_at = time.monotonic()
            self._process.terminate()

    def wait(self) -> None:
        """Waits for the end of a process that was stopped."""
        while self.poll() is None:
            time.sleep(0.1)

    @property
    def refused(self) -> bool:
        """Whether the trainer refused the flags or the data."""
        config = os.path.join(self.run_dir, runs.CONFIG)
        return self._process.returncode == 2 and not os.path.exists(config)

    @property
    def diverged(self) -> bool:
        """Whether the run ended as its loss or weights were not finite."""
        return self._process.returncode == 2 and IF_DIVERGED in self.error()

    def error(self) -> str:
        """Returns the last error that was printed, or the last line."""
        with open(f"{self.run_dir}.log", "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2**16))
            lines = log.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        last = (errors or lines or [""])[-1]
        return last.removeprefix("error: ")


def _wait_until_free(run_dir):
    """Waits while a process of a tuner that was killed still saves."""
    end = time.monotonic() + GRACE_S
    lock = os.path.join(run_dir, _LOCK)
    while os.path.exists(lock):
        with contextlib.suppress(BlockingIOError), files.locked(lock):
            return
        if time.monotonic() > end:
            raise RunError(
                f"{run_dir} is in use by another process, such as a trial of "
                "a tuner that was killed; end it first."
            )
        time.sleep(0.2)


def evaluations(run_dir: str, task: str, metric: str) -> list[float]:
    """Returns a metric of each evaluation on the valid split, in order."""
    return list(evaluated(run_dir, task, metric).values())


def evaluated(run_dir: str, task: str, metric: str) -> dict[int, float]:
    """Returns a metric of each evaluation on the valid split, by step.

    Args:
        run_dir: directory of a run, which may not have begun.
        task: name of the task.
        metric: name of its metric; null is read as NaN. A record without
            it, as of a damaged file, is skipped.
    """
    records = read_log(os.path.join(run_dir, _METRICS)).get("valid", [])
    values = {}
    for record in records:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            value = record[task][metric]
            values[record["step"]] = math.nan if value is None else float(value)
    return values
