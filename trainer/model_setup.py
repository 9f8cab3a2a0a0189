"""The optimizers of a run, and what its model takes."""

from trainer import run_config
from wukong_tf.config import ModelConfig
from wukong_tf.models import ClickModel
from wukong_tf.optimizers import (
    ClippedAdam,
    LinearWarmup,
    OptimizerGroups,
    RowwiseAdagrad,
)
from wukong_tf.optimizers.groups import TABLES
from wukong_tf.scaling import Cost, cost


def make_optimizers(
    model: ClickModel, training: run_config.Training
) -> OptimizerGroups:
    """Rowwise Adagrad for the tables, Adam for everything else."""
    warmup = training.warmup_steps
    return OptimizerGroups(
        model.trainable_variables,
        {
            "tables": (
                RowwiseAdagrad(
                    LinearWarmup(training.table_learning_rate, warmup),
                    l2=training.embedding_l2,
                    l2_scope=training.embedding_l2_scope,
                    row_runs=_row_runs(model, training),
                ),
                TABLES,
            ),
            "dense": (
                ClippedAdam(
                    LinearWarmup(training.learning_rate, warmup),
                    global_clipnorm=training.clipnorm or None,
                ),
                None,
            ),
        },
        average=("dense", training.average_weights)
        if training.average_weights
        else None,
    )


def _row_runs(model, training):
    """How the rows of each table learn, where they do not learn alike."""
    spec = model.config.features
    runs = {}
    for layer in model.tables:
        found = [spec.table_settings(t.name) for t in layer.plan.tables]
        if all(t.learning_rate is None and t.l2 is None for t in found):
            continue
        runs[layer.table.path] = [
            _row_run(settings, table.rows, training)
            for settings, table in zip(found, layer.plan.tables, strict=True)
        ]
    return runs


def _row_run(settings, rows, training):
    rate, l2 = settings.learning_rate, settings.l2
    return (
        rows,
        1.0 if rate is None else rate / training.table_learning_rate,
        training.embedding_l2 if l2 is None else l2,
    )


def model_cost(config: ModelConfig, training: run_config.Training) -> Cost:
    """What the model takes, trained so."""
    return cost(
        config,
        batch_size=training.batch_size,
        dtype=run_config.DTYPES[training.precision],
        remat=training.remat,
    )
