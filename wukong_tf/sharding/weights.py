"""Weights that all workers hold, of which each updates a part."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wukong_tf.embeddings import table_rows
from wukong_tf.sharding import blocks, collectives

# That a worker sends in one collective: as much is in memory twice.
BATCH_BYTES = 2**24


class OwnedWeights:
    """The workers that update some weights, and the exchange of updates.

    Optimizer slots of a row exist at the worker that updates it only (the first
    stage of ZeRO, arXiv 1910.02054). A weight without an axis is updated by
    all.

    Args:
        variables: Keras variables, the same on all workers.
        count: number of workers.
        index: this worker.
        whole: whether a weight is to be updated by one worker. Defaults to
            False: a few are cut between rows, for equal shares.

    Attributes:
        count: number of workers.
        bytes_sent: bytes that each worker sends in one exchange, in a ring.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        count: int,
        index: int,
        *,
        whole: bool = False,
    ):
        self.count = count
        self._index = index
        # By path, in the order of the variables.
        self._layouts: dict[str, blocks.Blocks | None] = {
            variable.path: None for variable in variables
        }
        self._rounds: list[list[list[blocks.Piece]]] = []
        self.bytes_sent = 0
        owned = [
            number
            for number, variable in enumerate(variables)
            if len(variable.shape) and math.prod(variable.shape)
        ]
        for kind in sorted({str(variables[n].dtype) for n in owned}):
            mine = [n for n in owned if str(variables[n].dtype) == kind]
            shapes = [tuple(variables[n].shape) for n in mine]
            bounds = (blocks.whole if whole else blocks.cut)(shapes, count)
            for number, rows in zip(mine, bounds, strict=True):
                path = variables[number].path
                self._layouts[path] = blocks.Blocks(rows, index)
            size = np.dtype(kind).itemsize
            # Two rounds in a row send more than the limit; each has a key.
            most = 4 * sum(map(math.prod, shapes)) // collectives.KEYS
            limit = max(BATCH_BYTES // size, most)
            for pieces in blocks.rounds(shapes, bounds, limit):
                self._rounds.append(_renumbered(pieces, mine))
                self.bytes_sent += (count - 1) * size * _size(pieces)

    def layout(self, variable: Any) -> blocks.Blocks | None:
        """Returns a variable's rows by worker; None if all update all."""
        return self._layouts[variable.path]

    def part(self, variable: Any, gradient: Any) -> tuple[Any, Any] | None:
        """Returns what this worker updates of a variable, and its gradient.

        Args:
            variable: one of the constructor's variables.
            gradient: its gradient, a tensor.

        Returns:
            A variable of TensorFlow, or a `RowsOf` one; None if this worker
            updates no row.
        """
        value, layout = table_rows.local(variable.value), self.layout(variable)
        if layout is None or layout.local_rows == layout.rows:
            return value, gradient
        if not layout.local_rows:
            return None
        start, stop = layout.run
        rows = RowsOf(value, start, stop)
        rows._unique_id = variable.value._unique_id  # finds slots in Keras
        return rows, gradient[start:stop]

    def assign(self, variables: Sequence[Any], rows: Sequence[Any]):
        """Assigns the rows that this worker updates.

        Args:
            variables: as for `exchange`.
            rows: these rows of each, tensors.
        """
        for variable, layout, value in zip(
            variables, self._layouts.values(), rows, strict=True
        ):
            target = table_rows.local(variable.value)
            if layout is None:
                target.assign(value)
            elif layout.local_rows:
                RowsOf(target, *layout.run).assign(value)

    def exchange(self, variables: Sequence[Any]):
        """Sets all rows to the values at the workers that update them.

        All workers must call it together, inside `strategy.run`.

        Args:
            variables: the constructor's variables, or others of their shapes
                and dtypes, such as averages of them.
        """
        group = collectives.current_group()
        if group is None:
            raise RuntimeError(
                "optimizer state is sharded over workers, which must update "
                "their weights together, inside `strategy.run`."
            )
        with tf.device(group.device):
            values = [
                table_rows.local(variable.value) for variable in variables
            ]
            first, sizes = variables[0], map(_size, self._rounds)
            key = collectives.first_key(
                (group.key, first.path, str(first.dtype), *sizes)
            )
            done: list = []
            for number, pieces in enumerate(self._rounds):
                # One round at a time is in memory.
                with tf.control_dependencies(done):
                    done = self._send(group, key + number, pieces, values)

    def _send(self, group, key, pieces, values):
        """Sends one round; returns the assignments of what was received."""
        size = _size(pieces)
        dtype = next(values[p.weight].dtype for each in pieces for p in each)
        parts = [
            tf.reshape(RowsOf(values[p.weight], p.start, p.stop).read(), [-1])
            for p in pieces[self._index]
        ]
        unused = size - sum(piece.size for piece in pieces[self._index])
        sent = tf.concat([*parts, tf.zeros([unused], dtype)], 0)
        got = group.all_gather(sent, key)  # [workers * size]
        assigned = []
        for worker, received in enumerate(pieces):
            first = worker * size
            for piece in received:
                rows = got[first : first + piece.size]
                first += piece.size
                if worker != self._index:
                    target = values[piece.weight]
                    target = RowsOf(target, piece.start, piece.stop)
                    assigned.append(target.assign(rows))
        return assigned


class RowsOf:
    """A run of rows of a variable of TensorFlow, as an optimizer takes one.

    Args:
        variable: a tf.Variable that is not distributed.
        start: its first row.
        stop: the row past the last.
    """

    def __init__(self, variable: Any, start: int, stop: int):
        self._variable = variable
        self._start, self._stop = start, stop
        self.shape = (stop - start, *variable.shape[1:])
        self.dtype = variable.dtype
        self._unique_id = variable._unique_id

    def read(self) -> tf.Tensor:
        """Returns the rows."""
        return self._variable.read_value()[self._start : self._stop]

    def __tf_tensor__(self, dtype=None, name=None):
        return tf.convert_to_tensor(self.read(), dtype, name=name)

    def assign(self, rows: Any):
        """Writes rows, or as many numbers, in place."""
        return tf.raw_ops.ResourceStridedSliceAssign(
            ref=self._variable.handle,
            begin=[self._start],
            end=[self._stop],
            strides=[1],
            value=tf.reshape(rows, self.shape),
        )

    def assign_sub(self, rows: Any):
        """Subtracts rows in place."""
        return self.assign(self.read() - rows)


def _renumbered(pieces, numbers):
    """Returns pieces with the numbers of all weights."""
    return [
        [blocks.Piece(numbers[p.weight], p.start, p.stop, p.size) for p in each]
        for each in pieces
    ]


def _size(pieces) -> int:
    """Returns the numbers that each worker sends in a round."""
    return max(sum(piece.size for piece in each) for each in pieces)
