"""`--mode=plan`: the cost of a model, before anything is allocated."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from trainer.data.spec import open_features
from trainer.data.splits import num_train_rows
from trainer.loop.progress import make_schedule
from trainer.placement.tables import Placement, available_devices, place
from trainer.settings import Settings, memory_dtype
from wukong_tf.config import EmbeddingModelConfig, ModelConfig
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.models import ClickModel
from wukong_tf.scaling import Cost, cost

STATE_WORKERS = (1, 2, 4, 8, 16, 32, 64)  # of --dense_state=sharded


def run_plan(settings: Settings):
    """Prints the plan of a run.

    Raises:
        ConfigError: the tables do not fit the devices.
    """
    training = settings.training
    features = open_features(settings)
    config = settings.model.config(features)
    rows = num_train_rows(settings.data, features)
    sizes: dict[str, Any] = {
        "batch_size": training.batch_size,
        "dtype": memory_dtype(training.precision),
        "remat": training.remat,
    }
    placed = place(
        cost(config, **sizes),
        available_devices(settings.machine),
        settings.machine.table_device,
    )
    for line in settings.model.describe(config):
        print(line)
    print(
        describe_plan(
            config,
            **sizes,
            examples=rows and rows * training.epochs,
            placement=placed,
        )
    )
    if settings.devices.dense_state == "sharded":
        print("\n".join(["", *_state(cost(config, **sizes))]))
    if rows:
        data = settings.data
        evaluates = data.synthetic or bool(data.files("valid"))
        print(make_schedule(rows, training).describe(evaluates=evaluates))
    placed.check()


def describe_plan(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    dtype: str = "float32",
    remat: bool = False,
    examples: int | None = None,
    placement: Placement,
) -> str:
    """Returns the cost of tables, parts and the whole model as text tables.

    Args:
        config: the model's configuration.
        batch_size: rows per training batch. Defaults to 1.
        dtype: dtype policy of the dense part. Defaults to "float32".
        remat: whether to recompute interaction layers in the backward pass.
        examples: training rows of all epochs together, if known.
        placement: the devices that hold the tables.
    """
    costs = cost(config, batch_size=batch_size, dtype=dtype, remat=remat)
    # Raises if a table is too large for a lookup to index.
    if isinstance(config, EmbeddingModelConfig):
        plan_tables(config.features, config.row_width)
    else:
        tasks = len(config.features.tasks)
        plan_tables(config.features.one_row_each(), tasks)
    return "\n".join(
        [
            *_tables(costs, placement),
            "",
            *_devices(placement),
            "",
            *_parts(costs),
            "",
            *_totals(config.model, costs, examples),
        ]
    )


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
    """Returns the bytes and device of each table and the dense part."""
    total = costs.table_bytes + costs.dense_bytes
    state = costs.table_state_bytes + costs.dense_state_bytes
    dense = (costs.dense_bytes, costs.dense_state_bytes)
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


def _totals(name, costs: Cost, examples) -> list[str]:
    lines = [
        _parameters(name, costs.parameters, costs.table_parameters),
        f"training: {costs.training_flop / 1e9:.4g} GFLOP per example in "
        "matrix products (6 per multiply-add)",
        f"activations: {costs.activation_bytes:,} bytes at a batch of "
        f"{costs.batch_size:,} rows",
        f"memory: {costs.bytes:,} bytes of parameters, optimizer state and "
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
