"""Starts, and restarts, the workers of a run on this machine.

python -m trainer.launch --workers=N -- FLAGS OF trainer.main

Each worker is a process of its own on a free loopback port, and sees one GPU
if there are any. Lines of its output are prefixed with [NUMBER]. If one
fails, the others are ended too.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data or run
directory are invalid, or memory ran out; 69 a worker was lost; 75 stopped by
a signal after saving. After the last two the same command resumes, which
--max_restarts does automatically.
"""

import contextlib
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from trainer.process.stop_signal import SIGNALS, STOP

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import flags  # noqa: E402

from trainer.distribution.cluster import Cluster  # noqa: E402
from trainer.distribution.processes import (  # noqa: E402
    end_with_parent,
    gpus,
)
from trainer.main import EXIT_RESUME  # noqa: E402
from trainer.process import console, program  # noqa: E402
from trainer.process.program import EXIT_ERROR, EXIT_LOST  # noqa: E402
from trainer.settings import fields  # noqa: E402
from trainer.settings.launch import Launch  # noqa: E402
from wukong_tf.errors import ConfigError  # noqa: E402

EXIT_FAULT = 1
_POLL_S = 0.1


def define(values: flags.FlagValues):
    """Defines the launcher's flags."""
    fields.define(Launch, values)


class Worker:
    """A process whose output is passed on, prefixed with its index.

    Args:
        number: index of the worker.
        command: its command line.
        environment: its environment variables.
    """

    def __init__(self, number: int, command: Sequence[str], environment):
        self.number = number
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            errors="replace",
            # Ctrl-C reaches only the launcher, which signals the workers.
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        self._threads = [
            threading.Thread(target=self._pass_on, args=pair, daemon=True)
            for pair in (
                (self.process.stdout, sys.stdout),
                (self.process.stderr, sys.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _pass_on(self, source, target):
        for line in source:
            with contextlib.suppress(OSError):  # or the worker would block
                target.write(f"[{self.number}] {line}")
                target.flush()

    def send(self, number: signal.Signals):
        """Sends a signal, unless the process has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def finish(self) -> int:
        """Waits for the process and its output; returns the exit code."""
        code = self.process.wait()
        for thread in self._threads:
            thread.join(timeout=10)
        return code


def free_ports(count: int) -> list[int]:
    """Returns loopback ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def start(count: int, arguments: Sequence[str]) -> list[Worker]:
    """Starts and returns the workers of a run."""
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))
    devices = gpus()
    workers = []
    for number in range(count):
        environment = dict(os.environ)
        if count > 1:
            cluster = Cluster(addresses, number, "trainer.launch")
            environment["TF_CONFIG"] = cluster.tf_config()
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices[number]
        command = [sys.executable, "-m", "trainer.main", *arguments]
        workers.append(Worker(number, command, environment))
    return workers


def outcome(codes: Sequence[int], stopped: bool = False) -> int:
    """Returns the launcher's exit code.

    Args:
        codes: exit codes of the workers.
        stopped: whether the launcher was asked to stop; workers that lost
            another, or were ended by the signal before handling it, then
            count as stopped. Defaults to False.
    """
    if all(code == 0 for code in codes):
        return 0
    ends = {0, EXIT_LOST, EXIT_RESUME, *(-number for number in SIGNALS)}
    if stopped and ends.issuperset(codes):
        return EXIT_RESUME
    for code in (EXIT_ERROR, EXIT_FAULT):
        if code in codes:
            return code
    if all(code in (0, EXIT_RESUME) for code in codes):
        return EXIT_RESUME
    return EXIT_LOST


class Launcher:
    """Runs workers until all have ended.

    Args:
        count: number of workers.
        arguments: arguments of `trainer.main`.
        grace_s: seconds for workers to end once one has ended.
    """

    def __init__(self, count: int, arguments: Sequence[str], grace_s: float):
        self._count = count
        self._arguments = list(arguments)
        self._grace_s = grace_s
        self._signals: queue.SimpleQueue = queue.SimpleQueue()
        self.stop_signal: int | None = None

    def forward(self, number: int, frame=None):
        """Handles a signal: queues it for all workers."""
        del frame
        STOP.note(number)
        self.stop_signal = number
        self._signals.put(signal.Signals(number))

    def run(self) -> int:
        """Runs the workers to their end; returns the exit code."""
        workers = start(self._count, self._arguments)
        ended_at: float | None = None
        killed: set[int] = set()
        try:
            while any(w.process.poll() is None for w in workers):
                while not self._signals.empty():
                    number = self._signals.get()
                    for worker in workers:
                        worker.send(number)
                now = [worker.process.poll() for worker in workers]
                if ended_at is None and any(c is not None for c in now):
                    ended_at = time.monotonic()
                failed = any(code not in (None, 0) for code in now)
                late = time.monotonic() - (ended_at or math.inf) > self._grace_s
                # A worker may reject its flags or data before the others have
                # joined it, and they would wait for --cluster_timeout_s.
                hopeless = {EXIT_ERROR, EXIT_FAULT}.intersection(now)
                if failed and (late or hopeless):
                    killed |= self._kill(workers)
                time.sleep(_POLL_S)
        finally:
            killed |= self._kill(workers)
            codes = [worker.finish() for worker in workers]
        for worker, code in zip(workers, codes, strict=True):
            if code:
                how = f"exit code {code}"
                if code < 0:
                    how = f"killed by {signal.Signals(-code).name}"
                if worker.number in killed:
                    how += " of the launcher, after another had ended"
                _log(f"worker {worker.number} ended: {how}")
        return outcome(codes, self.stop_signal is not None)

    def _kill(self, workers) -> set[int]:
        """Kills the workers that run; returns their numbers."""
        running = [w for w in workers if w.process.poll() is None]
        for worker in running:
            worker.send(signal.SIGKILL)
        return {worker.number for worker in running}


def launch(count: int, restarts: int, arguments, grace_s: float) -> int:
    """Runs workers, and restarts them if they were lost or stopped."""
    launcher = Launcher(count, arguments, grace_s)
    STOP.noted = "forwarded to the workers"
    with STOP:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, launcher.forward)
        if STOP.received is not None:  # received just before
            launcher.forward(STOP.received)
        while True:
            code = launcher.run()
            resumes = code in (EXIT_LOST, EXIT_RESUME)
            if not (resumes and restarts) or launcher.stop_signal is not None:
                return code
            restarts -= 1
            _log(f"restarting all workers; {restarts} restarts left")


def _log(text):
    console.log(f"launch: {text}")


def _run(argv, values: flags.FlagValues, arguments) -> int:
    """Runs the workers with these arguments; returns the exit code."""

    def work():
        program.refuse_arguments(argv, program.AFTER)
        settings = fields.from_flags(Launch, values)
        devices = len(gpus())
        count = settings.workers or devices or 1
        if devices and count > devices:
            raise ConfigError(
                f"--workers must be at most the {devices} GPUs; received "
                f"{count}."
            )
        return launch(count, settings.max_restarts, arguments, settings.grace_s)

    return program.exit_code(work)


def main():
    """Runs `wukong-launch`."""
    if __name__ != "__main__":
        STOP.install()
    program.start_for_trainer(__doc__, "Launcher", define, _run)


if __name__ == "__main__":
    main()
