"""The served version and its replacement by another."""

import asyncio
import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any

from export.server import loading
from export.server.loading import Loaded, Settings
from export.version import published

log = logging.getLogger("wukong.serve")
STABLE = "stable"  # label of the served version
RETRY_S = 60.0  # as long as TensorFlow Serving waits by default


class NotServed(Exception):
    """Raised if a version is not served.

    Args:
        message: message that names the version.
        none: whether no version is served at all. Defaults to False.
    """

    def __init__(self, message: str, none: bool = False):
        super().__init__(message)
        self.none = none


def check_label(label: str):
    """Raises NotServed unless a label is that of the served version."""
    if label != STABLE:
        raise NotServed(
            f"the label must be {STABLE!r}, that of the served version; "
            f"received {label[:100]!r}."
        )


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A failure to load a version.

    Args:
        message: the error message.
        retry_at: when to retry, a time of `time.monotonic`.
        files: `_state` of the version's files at the failure.
    """

    message: str
    retry_at: float
    files: frozenset


class Versions:
    """Holds the served version, and replaces it when another appears.

    `refresh` checks the directory. A higher version is loaded and warmed up
    while the current one keeps serving, then replaces it; the old one is
    freed when its last request is answered. If a version fails to load, the
    error is reported, loading is retried after a minute or as soon as its
    files change, and the current version keeps serving. If the current
    version is removed, the highest remaining one replaces it.

    Args:
        base: directory of the versions, or of a single one.
        settings: settings of loaded versions.
        executor: executor of the computations.
        note_rows: called with the version and the number of rows of each
            computation.
    """

    def __init__(
        self,
        base: str,
        settings: Settings,
        executor: Executor,
        note_rows: Callable[[int, int], None] = lambda version, rows: None,
    ):
        self._base = base
        self._single = os.path.isfile(os.path.join(base, published.MANIFEST))
        self._settings = settings
        self._executor = executor
        self._note_rows = note_rows
        self._failed: dict[int, _Failure] = {}
        self._loading: int | None = None
        self.current: Loaded | None = None
        self.loads = {"ok": 0, "failed": 0}

    @property
    def max_waiting(self) -> int:
        """Largest number of waiting rows per signature."""
        return self._settings.max_waiting

    async def refresh(self):
        """Checks the directory; loads and serves another version if needed."""
        tried = set()
        while (candidate := self._candidate()) is not None:
            version, path = candidate
            if self.current and self.current.published.version == version:
                return
            if version in tried or await self._replace(version, path):
                return
            tried.add(version)  # try a lower one

    async def _replace(self, version: int, path: str) -> bool:
        """Loads and serves another version; returns whether it succeeded."""
        self._loading = version
        state = _state(path)
        try:
            loaded = await asyncio.to_thread(
                loading.load,
                path,
                self._settings,
                self._executor,
                self._note_rows,
            )
        except Exception as error:  # noqa: BLE001 whatever is wrong with it
            retry_at = time.monotonic() + RETRY_S
            self._failed[version] = _Failure(str(error), retry_at, state)
            self.loads["failed"] += 1
            log.error("failed to load version %d: %s", version, error)
            return False
        finally:
            self._loading = None
        self._failed.pop(version, None)
        before, self.current = self.current, loaded
        self.loads["ok"] += 1
        log.info("serving version %d (%s)", version, loaded.engine.name)
        if message := loaded.published.renumbered():
            log.warning("%s", message)
        if before is not None and not before.running:
            before.engine.close()
        return True

    def _candidate(self) -> tuple[int, str] | None:
        """Returns the version to serve and its directory, or None."""
        if self._single:
            paths = {published.read(self._base).version: self._base}
        else:
            paths = published.version_paths(self._base)
            # A removed version may reappear fixed.
            for version in self._failed.keys() - paths.keys():
                del self._failed[version]
            pinned = self._settings.pinned
            if pinned is not None:
                paths = {v: paths[v] for v in paths if v == pinned}
        for version, path in paths.items():
            if not self._is_postponed(version, path):
                return version, path
        return None

    def _is_postponed(self, version, path):
        """Returns whether a version failed recently and has not changed."""
        failure = self._failed.get(version)
        if failure is None or time.monotonic() >= failure.retry_at:
            return False
        return _state(path) == failure.files

    @contextlib.asynccontextmanager
    async def using(self, version: int | None) -> AsyncIterator[Loaded]:
        """Yields the version for a request; keeps it loaded in the block.

        Raises:
            NotServed: if it is not served.
        """
        loaded = self.current
        if loaded is None:
            raise NotServed("no version is available.", none=True)
        if version not in (None, loaded.published.version):
            raise NotServed(
                f"version {version} is not served; the served version is "
                f"{loaded.published.version}."
            )
        loaded.running += 1
        try:
            yield loaded
        finally:
            loaded.running -= 1
            if not loaded.running and loaded is not self.current:
                loaded.engine.close()

    def states(self, version: int | None = None) -> list[dict[str, Any]]:
        """Returns the versions' states as in a status response, highest first.

        Args:
            version: the only one to return. Defaults to None, all.

        Raises:
            NotServed: if there is no such version.
        """
        states = {
            version: ("END", "UNKNOWN", failure.message)
            for version, failure in self._failed.items()
        }
        if self._loading is not None:
            states[self._loading] = ("LOADING", "OK", "")
        if self.current is not None:
            states[self.current.published.version] = ("AVAILABLE", "OK", "")
        if version is not None:
            if version not in states:
                raise NotServed(f"version {version} is not served.")
            states = {version: states[version]}
        return [
            {
                "version": str(number),
                "state": state,
                "status": {"error_code": code, "error_message": message},
            }
            for number, (state, code, message) in sorted(
                states.items(), reverse=True
            )
        ]


def _state(path: str) -> frozenset:
    """Returns the names, sizes and times of the files in a directory."""
    state = set()
    for parent, _, names in os.walk(path):
        for name in names:
            file = os.path.join(parent, name)
            with contextlib.suppress(OSError):  # removed in the meantime
                stat = os.stat(file)
                state.add((file, stat.st_size, stat.st_mtime_ns))
    return frozenset(state)
