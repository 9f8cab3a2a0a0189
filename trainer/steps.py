"""What one replica does with its share of a batch."""

from collections.abc import Callable

import tensorflow as tf

from trainer.data.pipeline import GLOBAL_ROWS
from wukong_tf.config import FeatureSpec
from wukong_tf.metrics import binary_sums
from wukong_tf.models import ClickModel
from wukong_tf.optimizers import OptimizerGroups

Batch = dict[str, tf.Tensor]


def global_loss(
    spec: FeatureSpec, logits: dict[str, tf.Tensor], batch: Batch
) -> tf.Tensor:
    """This replica's part of the mean loss over the global batch.

    The one place where the loss is scaled: the weighted cross-entropies of
    the tasks, summed over this replica's rows and divided by the rows of
    the global batch. The parts of all replicas add up to the loss.
    """
    total = tf.constant(0.0)
    for task in spec.tasks:
        loss = tf.nn.sigmoid_cross_entropy_with_logits(
            labels=batch[task.label],
            logits=tf.reshape(logits[task.name], [-1]),
        )  # [B]
        if spec.weight:
            loss *= batch[spec.weight]
        total += tf.reduce_sum(loss)
    return total / batch[GLOBAL_ROWS]


def make_train_step(
    model: ClickModel, groups: OptimizerGroups
) -> Callable[[Batch], tf.Tensor]:
    """A function that takes one training step on a replica's batch.

    It returns the replica's part of the loss, before the step.
    """
    spec = model.config.features
    variables = [variable.value for variable in model.trainable_variables]

    def train_step(batch: Batch) -> tf.Tensor:
        inputs = {name: batch[name] for name in spec.feature_names}
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            loss = global_loss(spec, logits, batch)
        groups.apply(tape.gradient(loss, variables))
        return loss

    return train_step


def make_score_step(
    model: ClickModel,
) -> Callable[[Batch], dict[str, tf.Tensor]]:
    """A function from a replica's batch to {task: logits [B]}."""
    names = model.config.features.feature_names

    def score_step(batch: Batch) -> dict[str, tf.Tensor]:
        logits = model({name: batch[name] for name in names}, training=False)
        return {task: tf.reshape(logit, [-1]) for task, logit in logits.items()}

    return score_step


def make_eval_step(
    model: ClickModel,
) -> Callable[[Batch], tuple[dict, dict]]:
    """A function that scores a replica's batch and sums its metrics.

    It returns, for each task, the sums of `wukong_tf.metrics.binary_sums`
    and the logits [B].
    """
    spec = model.config.features
    score_step = make_score_step(model)

    def eval_step(batch: Batch) -> tuple[dict, dict]:
        logits = score_step(batch)
        weights = batch[spec.weight] if spec.weight else None
        sums = {
            task.name: binary_sums(
                batch[task.label], logits[task.name], weights
            )
            for task in spec.tasks
        }
        return sums, logits

    return eval_step
