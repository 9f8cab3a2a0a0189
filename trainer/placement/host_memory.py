"""What this process takes of the host's memory, and what is left of it."""

import os
import resource
import sys

_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def total_bytes() -> int | None:
    """Bytes that this process may use of the host, or None."""
    limits = [limit for limit, _ in _groups()]
    try:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        pass
    return min(limits, default=None)


def available_bytes() -> int | None:
    """Bytes that are left to this process, or None where nothing says."""
    left = [limit - used for limit, used in _groups()]
    available = _field("/proc/meminfo", "MemAvailable")
    if available is not None:
        left.append(available)
    return min(left, default=None)


def resident_bytes() -> int | None:
    """Bytes of this process now, or None where nothing says."""
    return _field("/proc/self/status", "VmRSS")


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = _field("/proc/self/status", "VmHWM")
    if peak is not None:
        return peak
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _groups():
    """Limit and use of each control group that has a limit."""
    for paths in _GROUPS:
        try:
            found = []
            for path in paths:
                with open(path, encoding="ascii") as file:
                    found.append(int(file.read()))
        except (OSError, ValueError):
            continue  # no such control group, or no limit
        yield found[0], found[1]


def _field(path, name):
    """A field in KiB of a file of the kernel's, in bytes."""
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                if line.startswith(f"{name}:"):
                    return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    return None
