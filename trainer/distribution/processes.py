"""Processes that a program starts on this machine, and the GPUs they see."""

import ctypes
import os
import signal
import subprocess
import sys

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux's prctl


def end_with_parent() -> None:
    """Has this process receive SIGTERM once its parent has died, on Linux.

    It is the `preexec_fn` of the process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def gpus() -> list[str]:
    """Returns the ids of the usable GPUs, as in CUDA_VISIBLE_DEVICES."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device.strip()]
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
