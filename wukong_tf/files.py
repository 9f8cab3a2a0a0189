"""Atomic writes of files and directories, file locks and hashes."""

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

UNFINISHED = ".unfinished"
REPLACED = ".replaced"
FILE, FOLDER, BROKEN = "a file", "a directory", "a broken link"
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def kind_of(path: str) -> str | None:
    """Returns what is at a path, links followed; None if there is nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return BROKEN if os.path.islink(path) else None
    if stat.S_ISREG(mode):
        return FILE
    return FOLDER if stat.S_ISDIR(mode) else "a pipe, socket or device"


@contextlib.contextmanager
def atomic_path(path: str, unfinished: str = UNFINISHED) -> Iterator[str]:
    """Yields a temporary path, which is renamed to `path` at the end.

    The file is synced before it is renamed. If the block raises, `path` is
    unchanged and the temporary file is removed.

    Args:
        path: path of the file.
        unfinished: suffix of the temporary path. Defaults to ".unfinished";
            concurrent writers of the same file need one each.

    Raises:
        OSError: the file cannot be written, or `path` is a directory or
            something else that no file may replace, such as /dev/null.
    """
    temporary = f"{path}{unfinished}"
    kind = kind_of(path)
    if kind not in (None, FILE, BROKEN):
        raise OSError(errno.EEXIST, f"must be a file, but is {kind}", path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError) and error.errno and not error.filename:
            # Such as a full disk's.
            raise OSError(error.errno, error.strerror, path) from error
        raise
    sync_folder(os.path.dirname(path) or ".")


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file atomically."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        file.write(text)


def write_bytes(path: str, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


def write_json(path: str, content: Any) -> None:
    """Writes `content` as JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def place_folder(new: str, path: str) -> None:
    """Moves directory `new` to `path`, which must not exist.

    The content of `new` is synced first.

    Raises:
        OSError: `new` cannot be synced or moved, or `path` is not empty.
    """
    sync_tree(new)
    os.rename(new, path)
    sync_folder(os.path.dirname(path) or ".")


def replace_folder(new: str, path: str) -> None:
    """Moves directory `new` to `path`, replacing what is there.

    The content of `new` is synced first. On Linux the two are exchanged
    atomically, so that `path` is always the old directory or the new one. File
    systems that cannot exchange need two renames; if a process dies between
    them, `restore_folder` restores the old one.

    Args:
        new: the complete directory.
        path: destination on the same file system.

    Raises:
        OSError: `new` cannot be synced or moved; `path` is unchanged.
    """
    if not os.path.lexists(path):
        place_folder(new, path)
        return
    sync_tree(new)
    if _exchange(new, path):
        remove(new)
    else:
        old = f"{path}{REPLACED}"
        remove(old)
        os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            os.rename(old, path)
            raise
        remove(old)
    sync_folder(os.path.dirname(path) or ".")


def restore_folder(path: str) -> None:
    """Cleans up after a process that died in `replace_folder`."""
    old = f"{path}{REPLACED}"
    if os.path.lexists(path):
        remove(old)
    elif os.path.lexists(old):
        os.rename(old, path)


def remove(path: str) -> None:
    """Removes a file, link or directory, if it exists."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


def sync_tree(folder: str) -> None:
    """Syncs a directory and all files in it to disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(os.path.join(parent, name))
        sync_folder(parent)


def sync_folder(folder: str) -> None:
    """Syncs a directory so that renames in it are durable, if supported."""
    # Some network file systems neither support nor need this.
    with contextlib.suppress(OSError):
        _sync(folder)


def shared_lock(path: str) -> BinaryIO:
    """Opens a file with a shared lock that protects it from removal.

    The lock is advisory: a process must check `is_held` before removing it.

    Raises:
        OSError: it cannot be opened.
    """
    file = open(path, "rb")  # noqa: SIM115
    with contextlib.suppress(OSError):  # not on every network file system
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return file


def is_held(path: str) -> bool:
    """Returns whether some process holds `shared_lock(path)`."""
    try:
        # NFS grants this lock only on files open for writing.
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def locked(path: str, *, wait: bool = False) -> Iterator[int]:
    """Holds an exclusive lock on a file or directory.

    Args:
        path: the directory, or the file, which is created if missing.
        wait: whether to wait while another process holds it. Defaults to
            False, an error.

    Yields:
        The descriptor of the open file or directory.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be opened.
    """
    folder = os.path.isdir(path)
    lock = os.open(path, os.O_RDONLY if folder else os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield lock
    finally:
        os.close(lock)


def sha256(path: str) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _renameat2():
    """Returns the C library's renameat2, or None if it has none."""
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None


def _exchange(first: str, second: str) -> bool:
    """Exchanges two paths atomically; returns False if unsupported."""
    rename = _renameat2()
    return rename is not None and not rename(
        _AT_FDCWD,
        os.fsencode(first),
        _AT_FDCWD,
        os.fsencode(second),
        _RENAME_EXCHANGE,
    )
