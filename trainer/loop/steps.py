"""The training, scoring and evaluation step of one replica."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.data.pipeline import GLOBAL_ROWS
from trainer.loop.step_clock import SUMMED, SUMMING, StepClock
from wukong_tf.config import FeatureSpec
from wukong_tf.metrics import (
    SCALARS,
    binary_sums,
    sampled_weights,
    scalar_sums,
)
from wukong_tf.models import ClickModel
from wukong_tf.optimizers import OptimizerGroups

Batch = dict[str, tf.Tensor]


def global_loss(
    spec: FeatureSpec, logits: dict[str, tf.Tensor], batch: Batch
) -> tf.Tensor:
    """Returns this replica's part of the mean loss over the global batch.

    The loss is scaled only here: the weighted cross-entropies of the tasks,
    each times its `loss_weight`, are summed over this replica's rows and
    divided by the rows of the global batch. A row without a label adds
    nothing to its task. The parts of all replicas add up to the loss.
    """
    parts = []
    for task in spec.tasks:
        labels = tf.cast(batch[task.label], logits[task.name].dtype)
        known = tf.math.is_finite(labels)
        loss = tf.nn.sigmoid_cross_entropy_with_logits(
            # Masked before the loss, or NaN labels would reach the gradients.
            labels=tf.where(known, labels, 0.0),
            logits=tf.reshape(logits[task.name], [-1]),
        )  # [B]
        loss = tf.where(known, loss, 0.0)
        if spec.weight:
            loss *= tf.cast(batch[spec.weight], loss.dtype)
        parts.append(task.loss_weight * tf.reduce_sum(loss))
    total = tf.add_n(parts)
    return total / tf.cast(batch[GLOBAL_ROWS], total.dtype)


def make_train_step(
    model: ClickModel,
    groups: OptimizerGroups,
    *,
    jit_compile: bool = False,
    negative_rates: dict[str, float] | None = None,
    clock: StepClock | None = None,
    parts: int = 1,
) -> Callable[[Batch], Any]:
    """Returns a function that takes one training step on a replica's batch.

    Args:
        model: the model.
        groups: its optimizers.
        jit_compile: whether XLA compiles the dense part, from the embeddings
            to the logits, and its gradient. Defaults to False.
        negative_rates: if the batch is to be scored before the step, its
            sampling rate of negatives by task. Defaults to None, it is not
            scored.
        clock: records the time of the sum over replicas. Defaults to None,
            not recorded.
        parts: parts that the batch is cut into, whose gradients are summed.
            Defaults to 1.

    Returns:
        A function that returns the replica's part of the loss before the
        step and, with `negative_rates`, the sums of
        `wukong_tf.metrics.scalar_sums`, float64 [tasks, sums].
    """
    spec = model.config.features
    variables = [variable.value for variable in model.trainable_variables]
    score = model.score
    if jit_compile:
        score = tf.function(model.score, jit_compile=True, autograph=False)
    differs = _drops_out(model.config)

    def gradients_of(batch: Batch):
        inputs = {name: batch[name] for name in spec.feature_names}
        with tf.GradientTape() as tape:
            x = model.embed(inputs, training=True)  # [B, n, d]
            logits = score(x, training=True)
            loss = global_loss(spec, logits, batch)
        sums = None
        if negative_rates is not None:
            if differs:
                logits = model(inputs, training=False)
            sums = _batch_sums(
                spec, model.served_logits(logits), batch, negative_rates
            )
        return tape.gradient(loss, variables), loss, sums

    def train_step(batch: Batch):
        gradients, loss, sums = _over_parts(gradients_of, batch, parts)
        groups.apply(_summed(groups, gradients, clock))
        return loss if sums is None else (loss, sums)

    return train_step


def _over_parts(gradients_of, batch, parts):
    """Returns the sums of gradients, losses and scalars over parts of a batch.

    Each part waits for the one before it, so that only one is in memory.
    """
    gradients, loss, sums = gradients_of(_part(batch, 0, parts))
    for index in range(1, parts):
        with tf.control_dependencies(_flat(gradients)):
            part = _part(batch, index, parts)
        more, more_loss, more_sums = gradients_of(part)
        gradients = [
            _added(*pair) for pair in zip(gradients, more, strict=True)
        ]
        loss += more_loss
        sums = None if sums is None else sums + more_sums
    return gradients, loss, sums


def _part(batch, index, parts):
    """Returns the rows of one of equally large parts of a batch."""
    if parts == 1:
        return batch
    rows = tf.shape(next(v for v in batch.values() if v.shape.rank))[0]
    begin, end = index * rows // parts, (index + 1) * rows // parts
    return {
        name: value[begin:end] if value.shape.rank else tf.identity(value)
        for name, value in batch.items()
    }


def _added(one, other):
    """Returns the sum of two gradients, dense or IndexedSlices."""
    if not isinstance(one, tf.IndexedSlices):
        return one + other
    return tf.IndexedSlices(
        tf.concat([one.values, other.values], 0),
        tf.concat([one.indices, other.indices], 0),
        one.dense_shape,
    )


def _summed(groups, gradients, clock):
    """Returns the gradients of the global batch."""
    context = tf.distribute.get_replica_context()
    if clock is None or context.num_replicas_in_sync == 1:
        return groups.sum_over_replicas(gradients)
    # Waits for all gradients before sending any, or the clock would include
    # the backward pass.
    with tf.control_dependencies([clock.mark(SUMMING, *_flat(gradients))]):
        gradients = tf.nest.map_structure(
            tf.identity, gradients, expand_composites=True
        )
    gradients = groups.sum_over_replicas(gradients)
    with tf.control_dependencies([clock.mark(SUMMED, *_flat(gradients))]):
        return tf.nest.map_structure(
            tf.identity, gradients, expand_composites=True
        )


def _flat(gradients):
    return tf.nest.flatten(gradients, expand_composites=True)


def _drops_out(config) -> bool:
    """Returns whether the model behaves differently in training (dropout)."""
    rates = [getattr(config, "dropout", 0.0)]
    rates.append(getattr(config, "embedding_dropout", 0.0))
    rates += [feature.unit_dropout for feature in config.features.categorical]
    return any(rates)


def _batch_sums(spec, logits, batch, negative_rates):
    """Returns the scalar sums of each task, float64 [tasks, sums]."""
    by_task = []
    for task in spec.tasks:
        columns = _counted(
            spec, task, logits[task.name], batch, negative_rates[task.name]
        )
        sums = scalar_sums(**columns)
        by_task.append(tf.stack([sums[name] for name in SCALARS]))
    return tf.stack(by_task)


def _counted(spec, task, logits, batch, rate):
    """Returns labels, logits and weights of the rows that have a label."""
    columns = {
        "labels": batch[task.label],
        "logits": tf.reshape(logits, [-1]),
    }
    if spec.weight:
        columns["weights"] = batch[spec.weight]
    known = tf.math.is_finite(columns["labels"])
    columns = {
        name: tf.boolean_mask(column, known) for name, column in columns.items()
    }
    weights = sampled_weights(columns["labels"], columns.get("weights"), rate)
    return {**columns, "weights": weights}


def make_score_step(
    model: ClickModel,
) -> Callable[[Batch], dict[str, tf.Tensor]]:
    """Returns a function from a batch to its served {task: logits [B]}."""
    names = model.config.features.feature_names

    def score_step(batch: Batch) -> dict[str, tf.Tensor]:
        logits = model({name: batch[name] for name in names}, training=False)
        logits = model.served_logits(logits)
        return {task: tf.reshape(logit, [-1]) for task, logit in logits.items()}

    return score_step


def make_eval_step(
    model: ClickModel, negative_rates: dict[str, float]
) -> Callable[[Batch], tuple[dict, dict]]:
    """Returns a function that scores a replica's batch and sums its metrics.

    Args:
        model: the model.
        negative_rates: sampling rate of the negatives in the rows to
            evaluate, by task; each negative counts 1 / rate times.

    Returns:
        A function that returns, for each task, the sums of
        `wukong_tf.metrics.binary_sums` over the rows with a label, and the
        logits [B] of all rows.
    """
    spec = model.config.features
    score_step = make_score_step(model)

    def eval_step(batch: Batch) -> tuple[dict, dict]:
        logits = score_step(batch)
        sums = {}
        for task in spec.tasks:
            columns = _counted(
                spec, task, logits[task.name], batch, negative_rates[task.name]
            )
            sums[task.name] = binary_sums(**columns)
        return sums, logits

    return eval_step
