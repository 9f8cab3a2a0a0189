"""What the stand-ins for trainer.main share, and how programs start them."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def begin() -> tuple[dict[str, str], Path, int]:
    """Returns the flags, the run directory, and how often it was started.

    Like the trainer, the process locks its directory and ends with 75 on
    SIGTERM.
    """
    flags = dict(
        text.removeprefix("--").partition("=")[::2] for text in sys.argv
    )
    run_dir = Path(flags["run_dir"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    run_dir.mkdir(exist_ok=True)
    lock = os.open(run_dir / "lock", os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    start = {
        "arguments": sys.argv[1:],
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "time": time.time(),
    }
    with open(run_dir / "starts", "a") as file:
        file.write(json.dumps(start) + "\n")
    return flags, run_dir, len(starts(run_dir))


def starts(run_dir: Path) -> list[dict]:
    """Returns what each process of a run noted at its start."""
    lines = (run_dir / "starts").read_text().splitlines()
    return [json.loads(line) for line in lines]


def install(name: str, starter, assign=setattr) -> None:
    """Has this process start a stand-in, and look for its end often.

    Args:
        name: the stand-in's module.
        starter: module that waits for runs.
        assign: `setattr` of a test that restores what was. Defaults to
            `setattr`.
    """
    from trainer.tuning import trial_run  # not in stand-ins, which start fast

    # From any directory.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name} as m"
    program = (sys.executable, "-c", f"{code}; m.main()")
    assign(trial_run, "PROGRAM", program)
    assign(starter, "POLL_S", 0.01)


def start_command(command, folder: Path, *more: str) -> list[str]:
    """Returns the command that runs a test's `command` module."""
    own = command.arguments(folder, *more)
    return [sys.executable, "-m", command.__name__, *own, "--", *command.BASE]


def finished(command, folder: Path) -> subprocess.CompletedProcess[str]:
    """Returns the end of a process of `command` that nothing disturbed."""
    done = subprocess.run(
        start_command(command, folder), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done
