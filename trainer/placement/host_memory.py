"""Memory of the host that this process uses and has left."""

import os
import resource
import sys
from pathlib import Path

_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def total_bytes() -> int | None:
    """Returns the host memory this process may use in bytes, or None."""
    limits = [limit for limit, _ in _groups()]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        pass
    return min(limits, default=None)


def available_bytes() -> int | None:
    """Returns the bytes available to this process, or None if unknown."""
    left = [limit - used for limit, used in _groups()]
    available = _field("/proc/meminfo", "MemAvailable")
    if available is not None:
        left.append(available)
    return min(left, default=None)


def resident_bytes() -> int | None:
    """Returns this process's resident bytes, or None if unknown."""
    return _field("/proc/self/status", "VmRSS")


def peak_bytes() -> int:
    """Returns the peak resident memory of this process in bytes."""
    peak = _field("/proc/self/status", "VmHWM")
    if peak is not None:
        return peak
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def address_space_limit() -> int | None:
    """Returns this process's limit of virtual memory in bytes, or None."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def describe() -> str:
    """Returns a sentence on the memory that is left, and on limits to it."""
    available, limit = available_bytes(), address_space_limit()
    parts = []
    if available is not None:
        parts.append(f"{available / 2**30:.1f} GiB are available here")
    if limit is not None:
        parts.append(
            f"this process may map {limit / 2**30:.1f} GiB (ulimit -v)"
        )
    return "; ".join(parts or ["how much is available is unknown"]) + "."


def _groups():
    """Yields limit and usage in bytes of each cgroup that has a limit."""
    for paths in _GROUPS:
        try:
            limit, usage = (int(Path(path).read_text()) for path in paths)
        except (OSError, ValueError):
            continue  # no such control group, or no limit
        yield limit, usage


def _field(path, name):
    """Returns a field of a /proc file, given in KiB, in bytes."""
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None
