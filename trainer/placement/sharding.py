"""Chooses the tables whose rows are sharded over the workers."""

import dataclasses
from collections.abc import Collection

from trainer.settings import Devices
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import Cost
from wukong_tf.scaling.sharding import EXCHANGE_BYTES

FLOAT_BYTES = ID_BYTES = 4
MIB = 2**20
SHOWN_TABLES = 8


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
    """

    name: str
    rows: int
    width: int
    distinct: int
    workers: int
    exchange_dtype: str = "float32"

    @property
    def bytes(self) -> int:
        """Bytes of all rows and their optimizer state."""
        return FLOAT_BYTES * self.rows * (self.width + 1)

    @property
    def sharded_bytes(self) -> int:
        """Bytes of a worker's part of them, at most."""
        return FLOAT_BYTES * -(-self.rows // self.workers) * (self.width + 1)

    @property
    def sent_sharded(self) -> int:
        """Bytes that a worker sends in a step at most, if it is sharded.

        Of ids, and of rows and gradients, all but the worker's own.
        """
        float_bytes = EXCHANGE_BYTES[self.exchange_dtype]
        each = ID_BYTES + 2 * float_bytes * self.width
        return self.distinct * each * (self.workers - 1) // self.workers

    @property
    def sent_replicated(self) -> int:
        """Bytes that a worker sends in a step at most, if it is replicated."""
        others = self.workers - 1
        row = ID_BYTES + FLOAT_BYTES * self.width
        gathered = others * self.distinct * row
        reduced = 2 * others * self.rows * FLOAT_BYTES * (self.width + 1)
        return min(gathered, reduced // self.workers)


def traffic(
    costs: Cost,
    features: FeatureSpec,
    batch_size: int,
    workers: int,
    exchange_dtype: str = "float32",
) -> list[Traffic]:
    """Returns what each table of a model takes and sends.

    Args:
        costs: the cost of the model.
        features: its features.
        batch_size: rows of the global batch.
        workers: number of workers, one replica each.
        exchange_dtype: as in `Traffic`. Defaults to "float32".
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
        )
        for t in costs.tables
    ]


def choose(
    devices: Devices, tables: list[Traffic], free_bytes: int | None
) -> tuple[str, ...]:
    """Returns the names of the tables to shard, in the order of `tables`.

    Args:
        devices: the settings.
        tables: the result of `traffic`.
        free_bytes: memory of a worker for tables. None if unknown.

    Raises:
        ConfigError: --sharded_tables names no table, or contradicts
            --table_placement.
    """
    named = {*devices.sharded_tables} or {table.name for table in tables}
    if unknown := sorted(named - {table.name for table in tables}):
        raise ConfigError(
            f"--sharded_tables names {unknown}, which are no tables; the "
            f"tables are {[table.name for table in tables]}."
        )
    if devices.table_placement == "replicated" or not tables:
        return ()
    workers = tables[0].workers
    may = [
        table
        for table in tables
        if table.name in named
        and table.bytes >= devices.sharded_table_mib * MIB
        and table.rows >= workers > 1
    ]
    if devices.table_placement == "sharded":
        return tuple(table.name for table in may)
    chosen = {t.name for t in may if t.sent_sharded < t.sent_replicated}
    for table in sorted(may, key=lambda table: -table.bytes):
        if free_bytes is None or _needed(tables, chosen) <= free_bytes:
            break
        chosen.add(table.name)
    return tuple(table.name for table in tables if table.name in chosen)


def _needed(tables, chosen):
    return sum(
        table.sharded_bytes if table.name in chosen else table.bytes
        for table in tables
    )


def describe(tables: list[Traffic], sharded: Collection[str]) -> list[str]:
    """Returns log lines on the memory and traffic of each worker."""
    if not sharded:
        return []
    workers = tables[0].workers
    chosen = [table for table in tables if table.name in sharded]
    others = [table for table in tables if table.name not in sharded]
    lines = [
        f"tables sharded by rows over {workers} workers: {_names(chosen)}; "
        f"each worker holds {sum(t.sharded_bytes for t in chosen):,} of "
        f"{sum(t.bytes for t in chosen):,} bytes with optimizer state, and "
        f"sends at most {sum(t.sent_sharded for t in chosen):,} bytes a step"
    ]
    if chosen[0].exchange_dtype != "float32":
        lines[0] += f", rows and gradients as {chosen[0].exchange_dtype}"
    if others:
        lines.append(
            f"tables that every worker holds: {_names(others)}; "
            f"{sum(t.bytes for t in others):,} bytes with optimizer state; "
            f"each sends at most {sum(t.sent_replicated for t in others):,} "
            "bytes a step"
        )
    return lines


def _names(tables):
    names = ", ".join(table.name for table in tables[:SHOWN_TABLES])
    more = len(tables) - SHOWN_TABLES
    return f"{names} and {more} more" if more > 0 else names
