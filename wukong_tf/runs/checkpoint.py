"""Finds, verifies and reads the checkpoints of a run directory.

A checkpoint is a directory `checkpoints/step-N/` of NumPy files and a
`checkpoint.json` with each array's name and SHA-256, so that a truncated or
altered file is detected before it is used. An array that several workers wrote
has a file and a SHA-256 of each. Everything is read as data; nothing is
unpickled.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from wukong_tf import files
from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError
from wukong_tf.runs.run_directory import FORMAT, identity, read_text
from wukong_tf.runs.sharded import ShardedArray

CHECKPOINTS = "checkpoints"
"""Directory of a run's checkpoints."""
INDEX = "checkpoint.json"
"""File of a checkpoint: its arrays' files, shapes and checksums."""
BEST = "best.json"
"""File that names the step of the best checkpoint."""
_MAPPED_BYTES = 2**20  # larger files are memory-mapped
_OUTSIDE = (
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    *(errno.ESTALE, errno.ETIMEDOUT),
)


@dataclasses.dataclass(frozen=True)
class Checkpoint(Mapping[str, np.ndarray]):
    """A verified checkpoint: a mapping of canonical names to arrays.

    Args:
        path: its directory.
        step: training steps done when it was written.
        state: the trainer's own JSON values, such as the evaluations so far.
        entries: dict of array name to its file, shape and checksum.
        held: the open index file, which keeps a running trainer from removing
            the checkpoint. Defaults to None.
        run: identity of the run that wrote it. Defaults to None, as in runs
            of older versions.
    """

    path: str
    step: int
    state: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    held: BinaryIO | None = None
    run: str | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        if "shards" not in entry:
            return self._read(name, entry["file"])
        parts = [self._read(name, part["file"]) for part in entry["shards"]]
        try:
            if "first" not in entry:  # runs of rows, one after the other
                return np.concatenate(parts)
            whole: Any = ShardedArray(parts, entry["first"], entry["shape"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise RunError(
                f"corrupted checkpoint: {self.path} (array {name!r}): {error}."
            ) from error
        return whole

    def _read(self, name, file):
        path = os.path.join(self.path, file)
        try:
            if os.path.getsize(path) > _MAPPED_BYTES:
                # Read on demand: a table may fill most of the memory.
                return np.lib.format.open_memmap(path, mode="r")
            with open(path, "rb") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise RunError(
                f"corrupted checkpoint: {path} (array {name!r}): {error}."
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def digest(content: dict[str, Any]) -> str:
    """Returns the SHA-256 of JSON content, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checkpoint_paths(run_dir: str) -> list[tuple[int, str]]:
    """Returns (step, directory) of published checkpoints, oldest first."""
    folder = os.path.join(run_dir, CHECKPOINTS)
    if not os.path.isdir(folder):
        return []
    paths = []
    for name in os.listdir(folder):
        step = step_of(name)
        if step is not None:
            paths.append((step, os.path.join(folder, name)))
    return sorted(paths)


def step_of(path: str) -> int | None:
    """Returns the step that a checkpoint's directory names, or None."""
    prefix, _, step = os.path.basename(path).partition("-")
    named = prefix == "step" and step.isascii() and step.isdigit()
    return int(step) if named else None


def open_checkpoint(path: str) -> Checkpoint:
    """Opens the checkpoint in directory `path`, verifying every checksum.

    Raises:
        RunError: a file is missing, truncated or altered; names it.
    """
    index = os.path.join(path, INDEX)
    held = None
    with contextlib.suppress(OSError):  # reading it says why
        held = files.shared_lock(index)
    try:
        content = schema.parse_json(read_text(index), index)
    except ConfigError as error:
        raise RunError(f"corrupted checkpoint: {error}") from error
    expected = content.pop("digest", None) if isinstance(content, dict) else 0
    if not isinstance(content, dict) or expected != digest(content):
        raise RunError(
            f"corrupted checkpoint: {index} does not match its own digest."
        )
    if (version := content.get("format")) != FORMAT:
        raise RunError(
            f"{index}: the checkpoint format must be {FORMAT}; received "
            f"{version}."
        )
    try:
        checkpoint = Checkpoint(
            path,
            content["step"],
            content["state"],
            dict(content["arrays"]),
            held,
            content.get("run"),
        )
        written = [
            (name, str(file["file"]), str(file["sha256"]))
            for name, entry in checkpoint.entries.items()
            for file in entry.get("shards", [entry])
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"corrupted checkpoint: {index} has a missing or invalid key: "
            f"{error}."
        ) from error
    if step_of(path) not in (None, checkpoint.step):
        raise RunError(
            f"corrupted checkpoint: {path} holds step {checkpoint.step}; "
            "rename it to what it holds."
        )
    for name, file, sha256 in written:
        _verify_array(path, name, file, sha256)
    return checkpoint


def may_be_whole(error: RunError) -> bool:
    """Returns whether a checkpoint failed to open for an external reason.

    Examples are permissions, and the process's limits on memory and files.
    """
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _OUTSIDE


def check_owner(run_dir: str, checkpoint: Checkpoint) -> None:
    """Raises RunError if a checkpoint, whole or not, is of another run."""
    owner = identity(run_dir)
    if None not in (owner, checkpoint.run) and owner != checkpoint.run:
        raise RunError(
            f"{checkpoint.path}: is a checkpoint of another run, "
            f"{checkpoint.run}; {run_dir} is run {owner}. Remove it, or use "
            "--init_from to start from another run."
        )


def best_step(run_dir: str) -> int | None:
    """Returns the step of the best checkpoint, or None before an evaluation."""
    path = os.path.join(run_dir, CHECKPOINTS, BEST)
    if not os.path.exists(path):
        return None
    try:
        return int(schema.parse_json(read_text(path), path)["step"])
    except (
        ConfigError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        raise RunError(f"{path}: has no valid step: {error}.") from error


def find_checkpoint(run_dir: str, which: str | int = "best") -> Checkpoint:
    """Returns the checkpoint of a run that `which` names.

    Args:
        run_dir: the run directory.
        which: "best", "latest", or a step. "best" is the latest if the run has
            no evaluation yet.

    Raises:
        RunError: there is no such checkpoint, or it is corrupted.
    """
    while True:
        path = checkpoint_path(run_dir, which)
        try:
            checkpoint = open_checkpoint(path)
        except RunError:
            # A running trainer may have removed it for a newer one meanwhile.
            if os.path.lexists(path):
                raise
        else:
            check_owner(run_dir, checkpoint)
            return checkpoint


def checkpoint_path(run_dir: str, which: str | int = "best") -> str:
    """Returns the directory of a checkpoint, which is not read.

    Args and errors are those of `find_checkpoint`.
    """
    best = best_step(run_dir)
    paths = dict(checkpoint_paths(run_dir))
    if not paths:
        raise RunError(f"{run_dir}: the run has no checkpoint yet.")
    step: str | int | None = which
    if which == "best":
        step = max(paths) if best is None else best
        if step not in paths and best_step(run_dir) != best:
            return checkpoint_path(run_dir, which)  # it just changed
    elif which == "latest":
        step = max(paths)
    elif isinstance(which, str) and which.isdigit():
        step = int(which)
    if step not in paths:
        raise RunError(
            f"{run_dir}: checkpoint {which!r} does not exist; the steps are "
            f"{sorted(paths)}."
        )
    return paths[step]


def _verify_array(folder, name, file, sha256):
    path = os.path.join(folder, file)
    if os.path.basename(file) != file:
        raise RunError(f"{path}: array {name!r} lies outside its checkpoint.")
    try:
        actual = files.sha256(path)
    except (OSError, ValueError) as error:
        raise RunError(
            f"corrupted checkpoint: {path} (array {name!r}) cannot be read: "
            f"{error}."
        ) from error
    if actual != sha256:
        raise RunError(
            f"corrupted checkpoint: {path} (array {name!r}) has SHA-256 "
            f"{actual}; expected {sha256}."
        )
