"""Bytes that tables take on each worker, and send in a step."""

import dataclasses

from wukong_tf.config import FeatureSpec
from wukong_tf.scaling.cost import FLOAT_BYTES, Cost

ID_BYTES = 4
# Bytes of a float of a row or a gradient by the dtype in which it is sent.
EXCHANGE_BYTES = {"float32": FLOAT_BYTES, "bfloat16": 2}


@dataclasses.dataclass(frozen=True)
class Traffic:
    """A table's rows, and what a step sends for it.

    Args:
        name: name of the table.
        rows: number of rows.
        width: floats per row.
        distinct: most distinct rows in a worker's batch.
        workers: number of workers.
        exchange_dtype: dtype in which rows and gradients are sent, if it is
            sharded. Defaults to "float32".
        trains: whether rows are trained, with gradients and optimizer state,
            or only read. Defaults to True.
    """

    name: str
    rows: int
    width: int
    distinct: int
    workers: int
    exchange_dtype: str = "float32"
    trains: bool = True

    @property
    def bytes(self) -> int:
        """Bytes of all rows and their optimizer state."""
        return FLOAT_BYTES * self.rows * (self.width + self.trains)

    @property
    def sharded_bytes(self) -> int:
        """Bytes of a worker's part of them, at most."""
        rows = -(-self.rows // self.workers)
        return FLOAT_BYTES * rows * (self.width + self.trains)

    @property
    def sent_sharded(self) -> int:
        """Bytes that a worker sends in a step at most, if it is sharded.

        Of ids, and of rows and gradients, all but the worker's own.
        """
        row = EXCHANGE_BYTES[self.exchange_dtype] * self.width
        each = ID_BYTES + row + row * self.trains
        return self.distinct * each * (self.workers - 1) // self.workers

    @property
    def sent_replicated(self) -> int:
        """Bytes that a worker sends in a step at most, if it is replicated."""
        return min(self._gathered, self._reduced) if self.trains else 0

    @property
    def exchange(self) -> str:
        """What sends less if it is replicated, "gather" or "reduce"."""
        return "gather" if self._gathered <= self._reduced else "reduce"

    @property
    def _gathered(self):
        row = ID_BYTES + FLOAT_BYTES * self.width
        return (self.workers - 1) * self.distinct * row

    @property
    def _reduced(self):
        return 2 * (self.workers - 1) * self.bytes // self.workers


def traffic(
    costs: Cost,
    features: FeatureSpec,
    batch_size: int,
    workers: int,
    exchange_dtype: str = "float32",
    trains: bool = True,
) -> list[Traffic]:
    """Returns what each table of a model takes and sends.

    Args:
        costs: the cost of the model.
        features: its features.
        batch_size: rows of the global batch.
        workers: number of workers, one replica each.
        exchange_dtype: as in `Traffic`. Defaults to "float32".
        trains: as in `Traffic`. Defaults to True.
    """
    ids: dict[str, int] = {}
    rows = -(-batch_size // workers)
    for feature in features.categorical:
        count = ids.get(feature.table_name, 0)
        ids[feature.table_name] = count + rows * feature.ids_per_row
    return [
        Traffic(
            t.name,
            t.rows,
            t.width,
            min(t.rows, ids[t.name]),
            workers,
            exchange_dtype,
            trains,
        )
        for t in costs.tables
    ]
