"""Identifies the files of a run by their content, not by name or time."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainer.data.file_source import FileSource, stamp
from trainer.data.source import Source
from wukong_tf import files
from wukong_tf.errors import ContentError, DataError

_ENDS = 2**16  # bytes at each end of a file that `outline` reads
_MAGIC = b"PAR1"
_MANIFEST = "manifest.json"
_LOWEST_PRIORITY = 19


def outline(path: str) -> str:
    """Returns a file's size and a digest of its two ends, without the rest.

    The whole footer of a Parquet file is included: it holds the offsets and
    the statistics of all columns.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        begin = file.read(_ENDS)
        tail = _ENDS
        if begin.startswith(_MAGIC) and size > 8:
            file.seek(size - 8)
            tail = max(tail, int.from_bytes(file.read(4), "little") + 8)
        file.seek(max(0, size - tail))
        digest = hashlib.sha256(begin + file.read()).hexdigest()[:12]
    return f"{size} bytes of digest {digest}"


class Contents:
    """Computes the SHA-256 of every file of a run.

    A thread of the lowest priority reads the files during training and
    stores the digests in the sources' `digests`.

    Args:
        splits: the sources by split; those without files are skipped.

    Attributes:
        outlines: outlines of the files, by split and in their order.
        error: the error that ended the thread, or None.
    """

    def __init__(self, splits: Mapping[str, Source]):
        self._splits = {
            split: source
            for split, source in splits.items()
            if isinstance(source, FileSource)
        }
        self.outlines = {
            split: [outline(path) for path in source.paths]
            for split, source in self._splits.items()
        }
        self.error: DataError | None = None
        self._ended = threading.Event()
        self._recorded: dict[str, str] = {}
        paths = [path for path, _ in self._files()]
        self._manifests = {
            folder: _manifest(folder) for folder in map(os.path.dirname, paths)
        }

    def _files(self) -> Iterator[tuple[str, FileSource]]:
        for source in self._splits.values():
            for path in source.paths:
                yield path, source

    def record(self) -> dict[str, list[dict[str, Any]]]:
        """Returns a record of each file as JSON values, by split.

        The SHA-256 of a file that is not read yet is the one recorded by an
        earlier process, or None.
        """
        return {
            split: [
                {
                    "file": os.path.basename(path),
                    "outline": text,
                    "sha256": source.digests.get(
                        path, self._recorded.get(path)
                    ),
                }
                for path, text in zip(
                    source.paths, self.outlines[split], strict=True
                )
            ]
            for split, source in self._splits.items()
        }

    def expect(self, record: Mapping[str, Any]) -> None:
        """Checks the files against those of an earlier process of the run.

        Args:
            record: the result of `record` in that process.

        Raises:
            ContentError: the number, the sizes or the ends of files differ.
        """
        for split, source in self._splits.items():
            before = record.get(split, [])
            if before and len(before) != len(source.paths):
                raise ContentError(
                    f"{source.paths[0]} and the other {split} files: the run "
                    f"was trained with {len(before)} of them; received "
                    f"{len(source.paths)}."
                )
            for path, now, then in zip(
                source.paths, self.outlines[split], before, strict=False
            ):
                if now != then["outline"]:
                    raise _another(path, then["outline"], now)
                if then["sha256"]:
                    self._recorded[path] = then["sha256"]

    @property
    def complete(self) -> bool:
        """Whether all files were read and match what is expected."""
        return self._ended.is_set() and self.error is None

    @property
    def expects(self) -> bool:
        """Whether the expected SHA-256 of any file is known."""
        return bool(self._recorded) or any(self._manifests.values())

    def start(self) -> None:
        """Starts reading the files."""
        threading.Thread(target=self._run, name="digests", daemon=True).start()

    def wait(self, seconds: float, stop: Callable[[], bool]) -> None:
        """Waits until all files are read, `stop()` is true or time is up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop():
            if self._ended.wait(0.05):
                return

    def _run(self):
        if sys.platform == "linux":  # threads have a priority of their own
            with contextlib.suppress(OSError):
                os.setpriority(
                    os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY
                )
        try:
            for path, source in self._files():
                self._read(path, source)
        except DataError as error:
            self.error = error
        except OSError as error:  # its text names the file
            self.error = DataError(f"a file cannot be read: {error}")
        self._ended.set()

    def _read(self, path, source):
        digest = files.sha256(path)
        if stamp(path) != source.stamps[path]:
            raise DataError(
                f"{path}: was changed while the run was using it; the files "
                "of a run must not change until it has ended."
            )
        recorded = self._recorded.get(path)
        if recorded not in (None, digest):
            raise _another(path, f"SHA-256 {recorded}", f"SHA-256 {digest}")
        folder, name = os.path.split(path)
        prepared = self._manifests[folder].get(name)
        if prepared not in (None, digest):
            raise ContentError(
                f"{path}: was changed since trainer.prepare wrote it: its "
                f"SHA-256 is {digest}; {os.path.join(folder, _MANIFEST)} has "
                f"{prepared}. Prepare it again; if the change is intended, "
                "remove the manifest."
            )
        source.digests[path] = digest


def _another(path, before, now):
    return ContentError(
        f"{path}: is not the file that the run was trained on: that had "
        f"{before}, this one has {now}. Restore it, or choose another "
        "--run_dir."
    )


def _manifest(folder) -> dict[str, str]:
    """Returns the SHA-256 of files by name from the preparation's manifest."""
    try:
        with open(os.path.join(folder, _MANIFEST), encoding="utf-8") as file:
            entries = json.load(file)["files"]
        return {str(entry["file"]): str(entry["sha256"]) for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}  # not prepared, or the manifest is unreadable
