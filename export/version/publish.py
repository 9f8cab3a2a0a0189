"""Version directories: written beside, made visible by one rename."""

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Iterator

from wukong_tf import files
from wukong_tf.errors import ExportError

# No integers, so that a server looks at neither.
_UNFINISHED = ".unfinished-"
REMOVED = ".removed-"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Draft:
    """A version that is being written.

    Args:
        version: its number.
        path: directory to write into.
        final: directory that it becomes.
    """

    version: int
    path: str
    final: str


@contextlib.contextmanager
def draft(output: str, version: int | None = None) -> Iterator[Draft]:
    """A new version: published when the block ends, removed if it fails.

    Args:
        output: directory of the versions; made if it is missing.
        version: its number. Defaults to the time in seconds, or one above
            the highest version where that is more.

    Raises:
        ExportError: the version exists, another export is at work in
            `output`, or it cannot be written.
    """
    made: list[str] = []
    try:
        _make_directories(output, made)
        with locked(output):
            remove_unfinished(output)
            version = _choose(output, version)
            path = os.path.join(output, f"{_UNFINISHED}{version}")
            final = os.path.join(output, str(version))
            os.mkdir(path)
            try:
                yield Draft(version, path, final)
                files.sync_tree(path)
                _check_free(output, version)
                os.rename(path, final)
            finally:
                shutil.rmtree(path, ignore_errors=True)
            files.sync_folder(output)
    except BaseException as error:
        for directory in reversed(made):
            with contextlib.suppress(OSError):  # another's files are in it
                os.rmdir(directory)
        if isinstance(error, OSError):
            raise ExportError(
                f"--output={output} cannot be written: {error}. Nothing was "
                "published."
            ) from error
        raise


def versions(output: str) -> list[int]:
    """The versions in `output`, lowest first."""
    return sorted(
        int(name)
        for name in os.listdir(output)
        if name.isascii() and name.isdigit()
    )


def size_text(folder: str) -> str:
    """The bytes of all files in a directory, for people."""
    size = sum(
        os.path.getsize(os.path.join(parent, name))
        for parent, _, names in os.walk(folder)
        for name in names
    )
    return f"{size / 1e6:,.1f} MB"


def _choose(output, version):
    if version is None:
        return max([int(time.time()), *(v + 1 for v in versions(output))])
    _check_free(output, version)
    return version


def _check_free(output, version):
    if version in versions(output):
        raise ExportError(
            f"--version={version} exists in {output}, and a published version "
            "is never overwritten; choose another, or leave the flag out."
        )


def _make_directories(path, made):
    """As os.makedirs; notes in `made` the directories that were missing."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path), made)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):  # and not by another export just now
            raise
    else:
        made.append(path)


@contextlib.contextmanager
def locked(output, other="another export"):
    """Holds `output` against others, who would be `other` there."""
    path = os.path.join(output, _LOCK)
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context(files.locked(path))
            # The one who had it may have removed the file that we opened.
            mine = os.path.samestat(os.fstat(lock), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise ExportError(
                f"--output={output}: {other} is at work there; try again "
                "when it has ended."
            )
        try:
            yield
        finally:
            os.unlink(path)


def remove_unfinished(output):
    """Removes what a killed export left; the lock says that it is dead."""
    for name in os.listdir(output):
        if name.startswith((_UNFINISHED, REMOVED)):
            shutil.rmtree(os.path.join(output, name))
