"""Starts, and restarts, the workers of a run on this machine.

python -m trainer.launch --workers=N -- FLAGS OF trainer.main

Each worker is a process of its own on a free loopback port, and sees one GPU
if there are any. Lines of its output are prefixed with [NUMBER]. If one
fails, the others are ended too.

Exit codes: 0 done; 1 a fault in the program; 2 the flags, data or run
directory are invalid; 69 a worker was lost; 75 stopped by a signal after
saving. After the last two the same command resumes, which --max_restarts
does automatically.
"""

import contextlib
import ctypes
import json
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

from trainer.stop_signal import SIGNALS, STOP

if __name__ == "__main__":
    STOP.install()  # before anything that takes time

from absl import flags  # noqa: E402

from trainer import console, program  # noqa: E402
from trainer.main import EXIT_LOST, EXIT_RESUME  # noqa: E402
from trainer.program import EXIT_ERROR  # noqa: E402

EXIT_FAULT = 1
_POLL_S = 0.1
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def define_flags(values: flags.FlagValues):
    """Defines the launcher's flags."""
    flags.DEFINE_integer(
        "workers",
        0,
        "Processes to start; 0 for one a GPU, or one where there is none.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_restarts",
        0,
        "Times to start all workers again after one was lost or stopped.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "grace_s",
        60,
        "Seconds that workers have to end by themselves once one has ended, "
        "before they are killed.",
        lower_bound=1,
        flag_values=values,
    )


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
            preexec_fn=_end_with_the_launcher,
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

    def finish(self):
        """Waits for the last lines of its output."""
        for thread in self._threads:
            thread.join(timeout=10)


def _end_with_the_launcher():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Returns loopback ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def gpus() -> list[str]:
    """Returns the ids of the usable GPUs, as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [each for each in visible.split(",") if each.strip()]
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split()


def start(count: int, arguments: Sequence[str]) -> list[Worker]:
    """Starts and returns the workers of a run."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    devices = gpus()
    workers = []
    for number in range(count):
        environment = dict(os.environ)
        if count > 1:
            task = {"type": "worker", "index": number}
            environment["TF_CONFIG"] = json.dumps(
                {"cluster": {"worker": addresses}, "task": task}
            )
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
                if failed and (late or _cannot_end(now)):
                    self._kill(workers)
                time.sleep(_POLL_S)
        finally:
            self._kill(workers)
            for worker in workers:
                worker.process.wait()
                worker.finish()
        codes = [worker.process.wait() for worker in workers]
        for worker, code in zip(workers, codes, strict=True):
            if code:
                said = f"exit code {code}"
                if code < 0:
                    said = f"killed by {signal.Signals(-code).name}"
                _say(f"worker {worker.number} ended: {said}")
        return outcome(codes, self.stop_signal is not None)

    def _kill(self, workers):
        for worker in workers:
            worker.send(signal.SIGKILL)


def _cannot_end(codes) -> bool:
    """Returns whether the other workers would only wait for one that ended.

    A worker may reject its flags or data before the others have joined it,
    and they would wait for --cluster_timeout_s.
    """
    return any(code in (EXIT_ERROR, EXIT_FAULT) for code in codes)


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
            again = (
                code in (EXIT_LOST, EXIT_RESUME)
                and launcher.stop_signal is None
            )
            if not again or not restarts:
                return code
            restarts -= 1
            _say(f"restarting all workers; {restarts} restarts left")


def _say(text):
    console.log(f"launch: {text}")


def _run(argv) -> int:
    values = flags.FLAGS
    found = gpus()
    count = values.workers or len(found) or 1
    if found and count > len(found):
        _say(
            f"error: --workers must be at most the {len(found)} GPUs; "
            f"received {count}."
        )
        return EXIT_ERROR
    return launch(count, values.max_restarts, argv[1:], values.grace_s)


def main():
    """Runs `wukong-launch`."""
    if __name__ != "__main__":
        STOP.install()
    console.guard()
    own, trainers = sys.argv, []
    if "--" in sys.argv:
        place = sys.argv.index("--")
        own, trainers = sys.argv[:place], sys.argv[place + 1 :]

    def begin(argv):
        if len(argv) > 1:
            _say(
                f"error: unexpected arguments {argv[1:]}; the trainer's flags "
                "come after --."
            )
            sys.exit(EXIT_ERROR)
        code = _run([argv[0], *trainers])
        STOP.settle()
        sys.exit(code)

    program.start(__doc__, {"Launcher": define_flags}, begin, argv=own)


if __name__ == "__main__":
    main()
