"""What a model takes, told before anything large is allocated."""

import dataclasses

from wukong_tf.config import ModelConfig
from wukong_tf.embeddings.plan import plan_tables
from wukong_tf.models import ClickModel, build_model

FLOAT_BYTES = 4


def describe_plan(config: ModelConfig) -> str:
    """Tables, rows, bytes and parameters, as a text table.

    The dense part is built with tables of one row each, so that no table is
    allocated.
    """
    spec = config.features
    small = dataclasses.replace(
        spec,
        categorical=tuple(
            dataclasses.replace(
                feature, num_ids=1, oov_id=None, vocabulary=None
            )
            for feature in spec.categorical
        ),
    )
    model = build_model(dataclasses.replace(config, features=small))
    tables = [
        (table.name, table.rows, layer.plan.width)
        for layer, fused in zip(model.tables, _fused(config), strict=True)
        for table in fused.tables
    ]
    dense = sum(
        _size(variable.shape)
        for variable in model.trainable_variables
        if not any(variable is layer.table for layer in model.tables)
    )
    return _text(config.model, tables, dense)


def describe_model(model: ClickModel) -> str:
    """One line on a built model's size."""
    tables = sum(_size(layer.table.shape) for layer in model.tables)
    total = sum(_size(v.shape) for v in model.trainable_variables)
    return (
        f"{model.config.model}: {total:,} parameters, {tables:,} of them in "
        f"tables, {total - tables:,} dense"
    )


def _fused(config):
    own = config.model == "wukong"
    width = config.embedding_dim if own else 1
    return plan_tables(config.features, width, own_widths=own)


def _size(shape):
    total = 1
    for dimension in shape:
        total *= dimension
    return total


def _text(name, tables, dense):
    rows = [("table", "rows", "width", "bytes", "optimizer state bytes")]
    total_bytes = total_state = 0
    for table, count, width in tables:
        size, state = count * width * FLOAT_BYTES, count * FLOAT_BYTES
        total_bytes += size
        total_state += state
        rows.append(
            (table, f"{count:,}", str(width), f"{size:,}", f"{state:,}")
        )
    rows.append(
        (
            "dense part",
            "",
            "",
            f"{dense * FLOAT_BYTES:,}",
            f"{2 * dense * FLOAT_BYTES:,}",
        )
    )
    total_bytes += dense * FLOAT_BYTES
    total_state += 2 * dense * FLOAT_BYTES
    rows.append(("total", "", "", f"{total_bytes:,}", f"{total_state:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in rows
    ]
    in_tables = sum(count * width for _, count, width in tables)
    lines.append(
        f"{name}: {in_tables + dense:,} parameters, {in_tables:,} of them in "
        f"tables, {dense:,} dense"
    )
    return "\n".join(lines)
