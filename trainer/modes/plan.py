"""`--mode=plan`: the cost of a model, before anything is allocated."""

import dataclasses
import math
from collections.abc import Sequence

from trainer.data.spec import open_features
from trainer.data.splits import num_train_rows
from trainer.loop.progress import make_schedule
from trainer.loop.rates import Rates
from trainer.placement.sharding import describe, place_on_workers
from trainer.placement.tables import (
    ACCELERATOR,
    GIB,
    HOST,
    RESERVED,
    Device,
    Placement,
    available_devices,
    bytes_for_tables,
    model_cost,
)
from trainer.settings import Settings
from wukong_tf.config import EmbeddingModelConfig
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.errors import ConfigError
from wukong_tf.models import ClickModel
from wukong_tf.scaling import Cost
from wukong_tf.scaling.clusters import PEAK_SHARE, estimated_step

STATE_WORKERS = (1, 2, 4, 8, 16, 32, 64)  # of --dense_state=sharded


def run_plan(settings: Settings):
    """Prints the plan of a run.

    Raises:
        ConfigError: the tables do not fit the devices.
    """
    training, cluster = settings.training, settings.machine.cluster
    features = open_features(settings)
    config = settings.model.config(features)
    rows = num_train_rows(settings.data, features)
    workers = cluster.count if cluster else 1
    sharded_state = settings.devices.dense_state == "sharded"
    costs = model_cost(
        config, training, workers, workers if sharded_state else 1
    )
    devices = _available_devices(settings.machine)
    placed, traffic = place_on_workers(
        settings,
        costs,
        features,
        devices,
        workers=workers,
        free_bytes=bytes_for_tables(costs, devices),
    )
    _check_lookup(config, placed)
    for line in [
        *settings.model.describe(config),
        *describe_plan(
            config.model, costs, placed, rows and rows * training.epochs
        ),
    ]:
        print(line)
    if cluster:
        print(
            "\n".join(["", *_step(settings, costs, cluster, placed, traffic)])
        )
    elif sharded_state:
        print("\n".join(["", *_state(costs)]))
    if rows:
        data = settings.data
        evaluates = data.synthetic or bool(data.files("valid"))
        schedule = make_schedule(rows, training)
        # Raises if rates cannot decay in so many steps.
        Rates(config, training, training.epochs * schedule.steps_per_epoch)
        print(schedule.describe(evaluates=evaluates))
    placed.check()


def _available_devices(machine):
    """Returns the devices of --on, or of this machine.

    Raises:
        ConfigError: several GPUs would share tables in a host's memory.
    """
    if machine.cluster is None:
        return available_devices(machine)
    if machine.table_device == HOST:
        raise ConfigError(
            f"--table_device={HOST} contradicts --on={machine.on}: tables are "
            "planned in the memory of its GPUs."
        )
    size = int(machine.cluster.accelerator.bytes * (1 - RESERVED))
    if machine.accelerator_memory_gib:
        size = int(machine.accelerator_memory_gib * GIB)
    return [Device(ACCELERATOR, size)]


def _check_lookup(config, placed):
    """Raises ConfigError if a table is too large for a lookup to index."""
    if isinstance(config, EmbeddingModelConfig):
        features, width = config.features, config.row_width
    else:
        features, width = (
            config.features.one_row_each(),
            len(config.features.tasks),
        )
    plan_tables(features, width, sharded_tables=placed.sharded_tables)


def describe_plan(
    name: str, costs: Cost, placement: Placement, examples: int | None = None
) -> list[str]:
    """Returns the cost of tables, parts and the whole model as text tables.

    Args:
        name: name of the kind of model.
        costs: its cost.
        placement: the devices that hold the tables.
        examples: training rows of all epochs together. Defaults to None,
            unknown.
    """
    return [
        *_tables(costs, placement),
        "",
        *_devices(placement),
        "",
        *_parts(costs),
        "",
        *_totals(name, costs, placement, examples),
    ]


def describe_model(model: ClickModel) -> str:
    """Returns one line on a built model's size."""
    tables = sum(layer.plan.rows * layer.plan.width for layer in model.tables)
    # A worker has a part of a sharded table.
    own = {id(layer.table) for layer in model.tables}
    dense = sum(
        math.prod(v.shape)
        for v in model.trainable_variables
        if id(v) not in own
    )
    return _parameters(model.config.model, dense + tables, tables)


def _parameters(name, total, tables):
    return (
        f"{name}: {total:,} parameters, {tables:,} of them in tables, "
        f"{total - tables:,} dense"
    )


def _tables(costs: Cost, placement: Placement) -> list[str]:
    """Returns the bytes on a worker, and the device, of each part."""
    dense = (costs.dense_bytes, costs.dense_state_bytes)
    total = dense[0] + sum(t.bytes for t in placement.tables)
    state = dense[1] + sum(t.state_bytes for t in placement.tables)
    return _aligned(
        [
            ("table", "rows", "width", "bytes", "optimizer state bytes")
            + ("device",),
            *(
                (t.name, t.rows, t.width, t.bytes, t.state_bytes, t.device)
                for t in placement.tables
            ),
            ("dense part", "", "", *dense, placement.devices[0].name),
            ("total", "", "", total, state, ""),
        ]
    )


def _devices(placement: Placement) -> list[str]:
    """Returns the bytes needed and available on each device."""
    rows: list[tuple[object, ...]] = [
        ("device", "needed bytes", "available bytes")
    ]
    for device in placement.devices:
        has = "unknown" if device.bytes is None else device.bytes
        rows.append((device.name, placement.used(device), has))
    return _aligned(rows)


def _step(settings, costs, cluster, placed, traffic) -> list[str]:
    """Returns an estimate of a training step on a cluster."""
    training = settings.training
    batch = -(-training.batch_size // cluster.count)
    dtype = training.precision
    step = estimated_step(
        costs, cluster, batch, traffic, placed.sharded_tables, dtype=dtype
    )
    peak = cluster.accelerator.flops[dtype] / 1e12
    return [
        f"a training step on {cluster.hosts} x {cluster.gpus} {cluster.kind}, "
        f"{batch:,} rows each (an estimate)",
        *_aligned(
            [
                ("", "bytes sent by each", "ms"),
                ("matrix products", "", _ms(step.compute_s)),
                ("dense part", round(step.dense_bytes), _ms(step.dense_s)),
                (
                    "replicated tables",
                    step.replicated_bytes,
                    _ms(cluster.ring_s(step.replicated_bytes)),
                ),
                (
                    "sharded tables",
                    step.sharded_bytes,
                    _ms(cluster.exchange_s(step.sharded_bytes)),
                ),
                ("step", "", _ms(step.step_s)),
            ]
        ),
        f"{step.rows_per_s:,.0f} rows/s, at {PEAK_SHARE:g} of {peak:g} TFLOP/s "
        f"in {dtype}, all ids of a batch distinct, links at full rate, nothing "
        "overlapped; without lookups, updates and input",
        *describe(settings.devices, traffic, placed.sharded_tables),
    ]


def _ms(seconds):
    return f"{1000 * seconds:,.2f}"


def _state(costs: Cost) -> list[str]:
    """Returns the dense part's optimizer state by the number of workers."""
    rows: list[tuple[object, ...]] = [
        ("workers", "dense optimizer state bytes of each")
    ]
    for workers in STATE_WORKERS:
        share = dataclasses.replace(costs, state_workers=workers)
        rows.append((workers, share.dense_state_bytes))
    return _aligned(rows)


def _parts(costs: Cost) -> list[str]:
    """Returns parameters and forward operations per example of each part."""
    total = (costs.dense_parameters, costs.macs, costs.elementwise_flop)
    return _aligned(
        [
            ("part", "parameters", "multiply-adds", "elementwise")
            + ("training FLOP",),
            *(
                (p.name, p.parameters, p.macs, p.elementwise, 6 * p.macs)
                for p in costs.parts
            ),
            ("per example", *total, costs.training_flop),
        ]
    )


def _totals(name, costs: Cost, placement, examples) -> list[str]:
    used = sum(placement.used(device) for device in placement.devices)
    lines = [
        _parameters(name, costs.parameters, costs.table_parameters),
        f"training: {costs.training_flop / 1e9:.4g} GFLOP per example in "
        "matrix products (6 per multiply-add)",
        f"activations: {costs.activation_bytes:,} bytes at a batch of "
        f"{costs.batch_size:,} rows",
        f"memory: {used:,} bytes of parameters, optimizer state and "
        "activations",
    ]
    if examples:
        lines.append(
            f"data: {examples:,} training rows, "
            f"{costs.pf_days(examples):.3g} PF-days"
        )
    return lines


def _aligned(rows: Sequence[Sequence[object]]) -> list[str]:
    """Returns rows of cells as aligned lines, first column to the left."""
    cells = [
        [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
