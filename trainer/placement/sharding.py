"""Chooses the tables whose rows are sharded over the workers."""

from collections.abc import Collection, Sequence

from trainer.placement.tables import Device, Placement, place
from trainer.settings import Devices, Settings
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import ConfigError
from wukong_tf.scaling import Cost
from wukong_tf.scaling.traffic import Traffic, traffic

MIB = 2**20
SHOWN_TABLES = 8


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


def place_on_workers(
    settings: Settings,
    costs: Cost,
    features: FeatureSpec,
    devices: Sequence[Device],
    *,
    workers: int,
    replicas: int = 1,
    free_bytes: int | None,
    trains: bool = True,
) -> tuple[Placement, list[Traffic]]:
    """Places the tables of a run of several workers.

    Args:
        settings: the settings of the run.
        costs: the cost of the model.
        features: its features.
        devices: the devices of a worker, that of the dense part first.
        workers: number of workers that tables can be sharded over.
        replicas: number of replicas on the host. Defaults to 1.
        free_bytes: memory of a worker for tables. None if unknown.
        trains: whether tables are trained or only read. Defaults to True.

    Returns:
        The placement, and what each table takes and sends.

    Raises:
        ConfigError: the settings contradict each other or the tables.
    """
    tables = traffic(
        costs,
        features,
        settings.training.batch_size
        if trains
        else settings.training.eval_batch_size,
        workers,
        settings.devices.sharded_exchange_dtype if trains else "float32",
        trains,
    )
    placed = place(
        costs,
        devices,
        settings.machine.table_device,
        replicas=replicas,
        sharded=choose(settings.devices, tables, free_bytes),
        workers=workers,
    )
    return placed, tables


def _needed(tables, chosen):
    return sum(
        table.sharded_bytes if table.name in chosen else table.bytes
        for table in tables
    )


def describe(
    devices: Devices, tables: list[Traffic], sharded: Collection[str]
) -> list[str]:
    """Returns log lines on the memory and traffic of each worker.

    Args:
        devices: the settings.
        tables: the result of `traffic`.
        sharded: names of the tables that are sharded.
    """
    workers = tables[0].workers if tables else 1
    if not sharded:
        if devices.table_placement != "sharded" or not tables:
            return []
        why = (
            "all are below --sharded_table_mib or have fewer rows than workers"
            if workers > 1
            else "there is one worker, which holds all rows"
        )
        return [f"--table_placement=sharded shards no table: {why}"]
    chosen = [table for table in tables if table.name in sharded]
    others = [table for table in tables if table.name not in sharded]
    state = " with optimizer state" if tables[0].trains else ""
    lines = [
        f"tables sharded by rows over {workers} workers: {_names(chosen)}; "
        f"each worker holds {sum(t.sharded_bytes for t in chosen):,} of "
        f"{sum(t.bytes for t in chosen):,} bytes{state}, and "
        f"sends at most {sum(t.sent_sharded for t in chosen):,} bytes a step"
    ]
    if chosen[0].exchange_dtype != "float32":
        lines[0] += f", rows and gradients as {chosen[0].exchange_dtype}"
    if others:
        lines.append(
            f"tables that every worker holds: {_names(others)}; "
            f"{sum(t.bytes for t in others):,} bytes{state}; "
            f"each sends at most {sum(t.sent_replicated for t in others):,} "
            "bytes a step"
        )
    return lines


def _names(tables):
    names = ", ".join(table.name for table in tables[:SHOWN_TABLES])
    more = len(tables) - SHOWN_TABLES
    return f"{names} and {more} more" if more > 0 else names
