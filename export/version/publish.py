"""Version directories, written under a temporary name, then renamed."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

from wukong_tf import files
from wukong_tf.errors import ExportError

# Not integers, so that servers ignore them.
_UNFINISHED = ".unfinished-"
REMOVED = ".removed-"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Draft:
    """A version that is being written.

    Args:
        version: number of the version.
        path: directory to write into.
        final: directory after publishing.
    """

    version: int
    path: str
    final: str


@contextlib.contextmanager
def draft(output: str, version: int | None = None) -> Iterator[Draft]:
    """Publishes a new version at the end of the block; removes it on an error.

    Args:
        output: directory of the versions; created if missing.
        version: number of the version. Defaults to None, the time in seconds
            or one above the highest version, whichever is higher.

    Raises:
        ExportError: if the version exists, another export is running in
            `output`, or it cannot be written.
    """
    created: list[str] = []
    try:
        _make_directories(output, created)
        with locked(output):
            remove_unfinished(output)
            version = _choose(output, version)
            path = os.path.join(output, f"{_UNFINISHED}{version}")
            final = os.path.join(output, str(version))
            os.mkdir(path)
            try:
                with _temporary_files(output):
                    yield Draft(version, path, final)
                files.sync_tree(path)
                _check_free(output, version)
                os.rename(path, final)
            finally:
                shutil.rmtree(path, ignore_errors=True)
            files.sync_folder(output)
    except BaseException as error:
        for directory in reversed(created):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(directory)
        if isinstance(error, OSError):
            raise ExportError(
                f"--output={output} cannot be written: {error}. Nothing was "
                "published."
            ) from error
        raise


@contextlib.contextmanager
def _temporary_files(output):
    """Makes `tempfile`, which libraries use too, write below `output`.

    It must have room for the version; /tmp may have none.
    """
    folder = os.path.join(output, f"{_UNFINISHED}temporary")
    os.mkdir(folder)
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def versions(output: str) -> list[int]:
    """Returns the versions in `output`, lowest first."""
    return sorted(
        int(name)
        for name in os.listdir(output)
        if name.isascii() and name.isdigit()
    )


def size_text(folder: str) -> str:
    """Returns the size of all files in a directory as text."""
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
            f"--version={version} already exists in {output}; published "
            "versions are never overwritten. Choose another, or omit the flag."
        )


def _make_directories(path, created):
    """Creates directories like os.makedirs; appends them to `created`."""
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path), created)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):  # else another export created it
            raise
    else:
        created.append(path)


@contextlib.contextmanager
def locked(output, other="another export"):
    """Locks `output`; raises ExportError, which names `other`, if locked."""
    path = os.path.join(output, _LOCK)
    with contextlib.ExitStack() as held:
        try:
            lock = held.enter_context(files.locked(path))
            # The previous holder may have removed the file opened here.
            owned = os.path.samestat(os.fstat(lock), os.stat(path))
        except (BlockingIOError, FileNotFoundError):
            owned = False
        if not owned:
            raise ExportError(
                f"--output={output}: {other} is running there; try again when "
                "it has finished."
            )
        try:
            yield
        finally:
            os.unlink(path)


def remove_unfinished(output):
    """Removes what a killed export left; the caller must hold the lock."""
    for name in os.listdir(output):
        if name.startswith((_UNFINISHED, REMOVED)):
            shutil.rmtree(os.path.join(output, name))
