"""The optimizers of a run, and the cost of its model."""

import functools

import keras
import tensorflow as tf

from trainer.loop.rates import Rates, table_rate
from trainer.settings import Training
from wukong_tf.embeddings import table_rows
from wukong_tf.models import ClickModel
from wukong_tf.optimizers import (
    OptimizerGroups,
    RowwiseAdagrad,
    TableAdam,
    dense_optimizer,
    replica_sum,
)
from wukong_tf.optimizers.groups import TABLES

SHOWN_TABLES = 8
TABLE_OPTIMIZERS = {"rowwise_adagrad": RowwiseAdagrad, "adam": TableAdam}
_REPLICA_SEEDS = 1_000_003  # far from each other


def make_optimizers(
    model: ClickModel,
    training: Training,
    rates: Rates | None = None,
    ways: dict[str, str] | None = None,
    dense_state: str = "replicated",
) -> OptimizerGroups:
    """Returns --table_optimizer for tables, --dense_optimizer for the rest.

    Args:
        model: the model.
        training: optimizer, L2 and the like.
        rates: the learning rates. Defaults to None, those of a run that
            ends with its warm-up.
        ways: the result of `table_ways`. Defaults to None, one replica.
        dense_state: "replicated", or "sharded" over the strategy's workers.
            Defaults to "replicated".
    """
    if rates is None:
        rates = Rates(model.config, training, training.warmup_steps + 1)
    return OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (
                TABLE_OPTIMIZERS[training.table_optimizer](
                    rates.tables,
                    l2=training.embedding_l2,
                    l2_scope=training.embedding_l2_scope,
                    row_runs=_row_runs(model, training),
                ),
                TABLES,
            ),
            "dense": (
                dense_optimizer(
                    training.dense_optimizer,
                    rates.dense,
                    weight_decay=training.weight_decay,
                    global_clipnorm=training.clipnorm or None,
                ),
                None,
            ),
        },
        average=_average(training),
        ways=ways,
        sharded_state=("dense",) if dense_state == "sharded" else (),
    )


def describe_state(groups: OptimizerGroups) -> list[str]:
    """Returns a log line on the dense state of each worker, if sharded."""
    dense = groups.optimizers["dense"]
    if dense.owned is None:
        return []
    held = [0] * dense.owned.count
    for slot in dense.variables:
        if layout := getattr(slot, "shards", None):
            size = table_rows.row_bytes(slot)
            held = [
                n + size * rows
                for n, rows in zip(held, layout.sizes, strict=True)
            ]
    over = max(held) * len(held) / max(1, sum(held))
    sent = dense.owned.bytes_sent
    if hasattr(dense, "evaluated"):
        sent *= 2  # averages too
    return [
        f"dense optimizer state sharded over {len(held)} workers: each holds "
        f"{min(held):,} to {max(held):,} of {sum(held):,} bytes, at most "
        f"{over:.2f} times the mean, and sends {sent:,} bytes of updated "
        "weights a step"
    ]


def _average(training):
    """Returns the groups whose weights are averaged and the decay, or None."""
    if not training.average_weights:
        return None
    names = ["dense"]
    if training.table_optimizer == "adam":
        names.append("tables")  # all their rows are updated in any case
    return names, training.average_weights


def vary_dropout(model: ClickModel):
    """Makes every replica draw its own dropout masks.

    Otherwise replicas draw the same random numbers, and rows at the same
    position in two replicas' batches get the same mask.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            generator = layer.seed_generator
            generator.next = functools.partial(_replica_seed, generator.next)


def _replica_seed(draw, **options):
    seed = draw(**options)
    context = tf.distribute.get_replica_context()
    if context is None:
        return seed
    replica = tf.cast(context.replica_id_in_sync_group, seed.dtype)
    return seed + tf.stack([replica * _REPLICA_SEEDS, tf.zeros_like(replica)])


def table_ways(
    model: ClickModel,
    training: Training,
    replicas: int,
    way: str = "auto",
) -> dict[str, str]:
    """Returns how replicas sum the gradient of each table, by its path.

    Args:
        model: the model.
        training: gives the global batch size.
        replicas: number of replicas of all workers together.
        way: "gather", "reduce", or "auto": for each table the one that
            sends less. Defaults to "auto".
    """
    ways = {}
    rows = -(-training.batch_size // replicas)
    for layer in model.tables:
        if layer.plan.sharded:
            continue
        ways[layer.table.path] = way
        if way == "auto":
            ids = rows * sum(layer.plan.columns)
            ways[layer.table.path] = replica_sum.cheaper_way(
                layer.plan.rows, ids, replicas
            )
    return ways


def describe_ways(model: ClickModel, ways: dict[str, str]) -> list[str]:
    """Returns log lines on how the gradients of tables are summed."""
    lines = []
    for layer in model.tables:
        plan = layer.plan
        names = [table.name for table in plan.tables]
        shown = ", ".join(names[:SHOWN_TABLES])
        if len(names) > SHOWN_TABLES:
            shown += f" and {len(names) - SHOWN_TABLES} more"
        how = "all-reduced as dense tables"
        if layer.plan.sharded:
            how = "sent to the workers that own the rows"
        elif ways[layer.table.path] == replica_sum.GATHER:
            how = "all-gathered by distinct rows"
        lines.append(
            f"gradients of tables of width {plan.width} ({plan.rows:,} rows: "
            f"{shown}) are {how}"
        )
    return lines


def _row_runs(model, training):
    """Returns rate and L2 of row ranges for tables whose features differ."""
    base = table_rate(model.config, training)
    runs = {}
    for layer in model.tables:
        row_runs, differs = [], False
        sizes = [table.rows for table in layer.plan.tables]
        if shards := getattr(layer.table, "shards", None):
            sizes = shards.runs(sizes)
        for table, rows in zip(layer.plan.tables, sizes, strict=True):
            settings = model.config.features.table_settings(table.name)
            rate, l2 = settings.learning_rate, settings.l2
            differs |= rate is not None or l2 is not None
            row_runs.append(
                (
                    rows,
                    1.0 if rate is None else rate / base,
                    training.embedding_l2 if l2 is None else l2,
                )
            )
        if differs:
            runs[layer.table.path] = [run for run in row_runs if run[0]]
    return runs
