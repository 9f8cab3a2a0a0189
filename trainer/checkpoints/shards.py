"""Writes sharded tables and optimizer slots, each worker its own."""

import os
import time
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

from trainer.checkpoints import store
from trainer.checkpoints.arrays import OwnedRows, WrittenShards, write_array
from wukong_tf import files, runs
from wukong_tf.errors import RunError, TrainingError
from wukong_tf.runs.arrays import NamedArray


class ShardWriter:
    """Writes the rows that this worker owns; all workers must take part.

    The files are written to a directory next to the checkpoints, from which
    the chief links them into the checkpoint once all are written.

    Args:
        run_dir: the run directory, on a file system that all workers share.
        slots: slots of the run's arrays.
        index: index of this worker; 0 is the chief.
        gather: returns the JSON values of all workers, in their order.
        log: called with a line if rows could not be written.
        retry_s: seconds between tries. Defaults to 30.
    """

    def __init__(
        self,
        run_dir: str,
        slots: Sequence[NamedArray],
        index: int,
        gather: Callable[[Any], list],
        log: Callable[[str], None],
        retry_s: float = 30.0,
    ):
        self._folder = os.path.join(run_dir, runs.CHECKPOINTS)
        self._slots = [
            (number, slot)
            for number, slot in enumerate(slots)
            if hasattr(slot.variable, "shards")
        ]
        self._index = index
        self._gather = gather
        self._log = log
        self._retry_s = retry_s

    def write(self, step: int, tries: int = 1) -> Mapping | None:
        """Writes the arrays of a step; returns them by canonical name.

        Args:
            step: training steps done.
            tries: how often to try. Defaults to 1.

        Returns:
            The same on every worker; None if one could not write its rows.

        Raises:
            TrainingError: an array is not finite, the same on all.
        """
        for left in reversed(range(tries)):
            try:
                return self._try(step)
            except RunError as error:
                self._log(str(error))
            if left:
                time.sleep(self._retry_s)
        return None

    def _try(self, step):
        folder = os.path.join(
            self._folder, f"{store.UNFINISHED}{step:010d}{store.SHARDS}"
        )
        error = None
        if self._index == 0:
            error = self._start(folder)
        (error, *_) = self._gather(error)
        entries: dict[str, Any] = {}
        finite = True
        if error is None:
            try:
                entries = {
                    slot.name: self._write(folder, number, slot)
                    for number, slot in self._slots
                    if slot.variable.shards.local_rows
                }
                files.sync_tree(folder)
            except TrainingError as raised:
                error, finite = str(raised), False
            except (OSError, MemoryError) as raised:
                error = str(raised) or "out of memory"
        states = self._gather(
            {"error": error, "finite": finite, "entries": entries}
        )
        if self._index == 0 and any(s["error"] is not None for s in states):
            files.remove(folder)  # a full disk has better uses for its room
        for worker, state in enumerate(states):
            if not state["finite"]:
                raise TrainingError(state["error"])
            if state["error"] is not None:
                raise RunError(
                    f"the rows of worker {worker} at step {step} could not be "
                    f"written to {folder}: {state['error']}. Earlier "
                    "checkpoints are intact."
                )
        parts = [state["entries"] for state in states]
        return {
            slot.name: WrittenShards(folder, _entry(slot, parts))
            for _, slot in self._slots
        }

    def replaced(
        self,
        written: Mapping[str, WrittenShards],
        arrays: Callable[[], Iterable[tuple[str, Any]]],
    ) -> Iterator[tuple[str, Any]]:
        """Yields names and arrays, sharded ones as they are written."""
        for name, array in arrays():
            yield name, written.get(name, array)

    def _start(self, folder) -> str | None:
        """Makes the directory; returns the error if it cannot."""
        files.remove(folder)  # of an earlier try
        try:
            if not os.path.isdir(self._folder):
                os.mkdir(self._folder)
            os.mkdir(folder)
        except OSError as error:
            return str(error)
        return None

    def _write(self, folder, number, slot):
        name = f"{number:05d}-{self._index:05d}.npy"
        return write_array(folder, name, slot.name, OwnedRows(slot))


def _entry(slot, entries):
    """Returns the entry of the array that the entries of workers make up."""
    parts = [found[slot.name] for found in entries if slot.name in found]
    contiguous = slot.variable.shards.contiguous
    if contiguous and len(parts) == 1:
        return parts[0]
    return {
        "shape": list(slot.shape),
        "dtype": str(slot.variable.dtype),
        **({} if contiguous else {"first": slot.rows[0]}),
        "shards": [
            {key: part[key] for key in ("file", "sha256")} for part in parts
        ],
    }
