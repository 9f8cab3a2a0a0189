"""Scores a whole split and computes its metrics."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from trainer.data.pipeline import Pipeline
from trainer.data.source import Source
from trainer.distribution.strategies import Distribution
from trainer.loop.stable_ranks import StableRanks
from trainer.loop.steps import make_eval_step, make_score_step
from wukong_tf.metrics import (
    exact_auc,
    grouped_auc,
    of_sums,
    sampled_weights,
    zero_sums,
)
from wukong_tf.models import ClickModel

_LOGIT = "\0logit:"  # column names cannot contain NUL


class Interrupted(Exception):
    """An evaluation was aborted because the run was asked to stop."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Per-row values that an evaluation keeps for one task.

    Args:
        labels: 0 or 1, float32 [N].
        logits: float32 [N].
        weights: float32 [N], or None if all are 1.
        groups: int64 [N], or None if there is no group column.
        features: inputs of the model that were asked for, [N], by name.
    """

    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray | None
    groups: np.ndarray | None
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Evaluator:
    """Evaluates a model on sources, tracing each function only once.

    Args:
        distribution: the devices to compute on.
        model: the model.
        batch_size: rows per evaluation step.
        should_stop: called before every step, by all workers alike; True
            aborts the evaluation.
        negative_rate: sampling rate of the negatives in the rows to
            evaluate, for all tasks. Defaults to None, each task's own.

    Attributes:
        workers: the workers of the distribution.
        negative_rates: sampling rate of the negatives by task.
        ranks: measures stable ranks on a batch.
        weights: returns a context in which the model has the weights to
            evaluate; by default, its current ones.
    """

    def __init__(
        self,
        distribution: Distribution,
        model: ClickModel,
        batch_size: int,
        should_stop: Callable[[], bool] = lambda: False,
        negative_rate: float | None = None,
    ):
        self._distribution = distribution
        self.workers = distribution.workers
        self._spec = model.config.features
        self._batch_size = batch_size
        self._should_stop = should_stop
        self.negative_rates = {
            task.name: task.negative_rate
            if negative_rate is None
            else negative_rate
            for task in self._spec.tasks
        }
        self.weights: Callable[[], contextlib.AbstractContextManager] = (
            contextlib.nullcontext
        )
        self.ranks = StableRanks(distribution, model)
        self._keeping, self._score = _make_functions(
            distribution, model, self.negative_rates
        )

    def _unpacked(self, vector):
        """Returns the sums {task: {name: ...}} unpacked from one vector."""
        like = {task.name: zero_sums() for task in self._spec.tasks}
        parts, at = [], 0
        for part in tf.nest.flatten(like):
            size = int(tf.size(part))
            parts.append(vector[at : at + size].reshape(part.shape))
            at += size
        return tf.nest.pack_sequence_as(like, parts)

    def _label_columns(self):
        spec = self._spec
        names = [*(t.label for t in spec.tasks), spec.weight, spec.group_key]
        return [name for name in names if name]

    def evaluate(
        self,
        source: Source,
        *,
        exact: bool = False,
        features: tuple[str, ...] = (),
        on_first: Callable[[dict[str, tf.Tensor]], None] | None = None,
    ) -> tuple[dict[str, dict[str, float]], dict[str, Scores]]:
        """Returns the metrics of each task, and the rows' scores if kept.

        Args:
            source: the split.
            exact: whether to compute AUC by sorting all rows instead of from
                65,536 bins. Scores are then kept in the chief's memory, as
                they are if the spec has a group column: 8 to 24 bytes per
                row. Defaults to False.
            features: inputs of the model to keep with the scores, one value
                per row. Defaults to ().
            on_first: called with the first batch. Defaults to None.

        Returns:
            The metrics, the same on every worker, and the scores, which
            only the chief has.

        Raises:
            Interrupted: the run was asked to stop.
        """
        keep = exact or bool(features) or self._spec.group is not None
        kept = tuple(dict.fromkeys([*self._label_columns(), *features]))
        run = self._keeping(kept if keep else ())
        sums: np.ndarray | float = 0.0
        parts: dict[str, list] = {}
        with self.weights():
            for batch in self._batches(source, labels=True):
                if on_first is not None:
                    on_first(batch)
                    on_first = None
                batch_sums, columns = run(batch)
                sums += batch_sums.numpy()
                if self.workers.is_chief:
                    for name, value in columns.items():
                        parts.setdefault(name, []).append(value.numpy())
        scores = self._scores(parts, features) if parts else {}
        metrics = self._metrics(self._unpacked(sums), scores, exact)
        if keep:
            metrics = self.workers.from_chief(metrics)
        return metrics, scores

    def score(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
        """Yields {task: logits [B]} per batch, in order; reads no labels."""
        for batch in self._batches(source, labels=False):
            yield {
                task: part.numpy() for task, part in self._score(batch).items()
            }

    def _batches(self, source, labels):
        pipeline = Pipeline(
            source,
            self._batch_size,
            labels=labels,
            **self._distribution.share(),
        )
        iterator = self._distribution.iterate(pipeline)
        for _ in range(pipeline.steps_per_epoch):
            if self._should_stop():
                raise Interrupted
            try:
                yield next(iterator)
            except tf.errors.OpError as error:
                raise (pipeline.error or error) from None

    def _scores(self, parts, features):
        columns = {name: np.concatenate(parts[name]) for name in parts}
        return {
            task.name: self._scores_of_task(task, columns, features)
            for task in self._spec.tasks
        }

    def _scores_of_task(self, task, columns, features):
        """Returns the scores of labelled rows, as weighted in the metrics."""
        logit = f"{_LOGIT}{task.name}"
        names = [task.label, logit, self._spec.weight, self._spec.group_key]
        names += features
        known = np.isfinite(columns[task.label])
        if not known.all():
            columns = {n: columns[n][known] for n in names if n in columns}
        labels, weights = columns[task.label], columns.get(self._spec.weight)
        weights = sampled_weights(
            labels.astype(np.float64), weights, self.negative_rates[task.name]
        )
        groups = columns.get(self._spec.group_key)
        return Scores(
            labels,
            columns[logit],
            weights,
            groups,
            {name: columns[name] for name in features},
        )

    def _metrics(self, sums, scores, exact):
        metrics = {task: of_sums(total) for task, total in sums.items()}
        for task, rows in scores.items():
            if exact:
                metrics[task]["auc"] = exact_auc(
                    rows.labels, rows.logits, rows.weights
                )
            if rows.groups is not None:
                metrics[task]["group_auc"] = grouped_auc(
                    rows.labels, rows.logits, rows.groups, rows.weights
                )
        return metrics


def _make_functions(
    distribution: Distribution,
    model: ClickModel,
    negative_rates: dict[str, float],
):
    """Returns the traced functions of an evaluation.

    The first takes the names of the columns to keep, and returns the function
    that takes a batch and returns its sums and those columns; the second takes
    a batch and returns its logits by task. Rows are those of all replicas.
    """
    strategy = distribution.strategy
    eval_step = make_eval_step(model, negative_rates)
    score_step = make_score_step(model)

    def gathered(value):
        """Returns the rows of all replicas, in order."""
        if distribution.replicas == 1:
            return value
        return strategy.gather(value, axis=0)

    def packed_step(batch):
        """Returns the logits, and all sums as one vector to reduce."""
        sums, logits = eval_step(batch)
        flat = [tf.reshape(part, [-1]) for part in tf.nest.flatten(sums)]
        return tf.concat(flat, 0), logits

    def run(batch, kept):
        sums, logits = strategy.run(packed_step, args=(batch,))
        sums = strategy.reduce("SUM", sums, axis=None)
        if not kept:
            return sums, {}
        columns = {f"{_LOGIT}{task}": part for task, part in logits.items()}
        columns |= {name: batch[name] for name in kept}
        return sums, {n: gathered(part) for n, part in columns.items()}

    @functools.cache
    def keeping(kept: tuple[str, ...]):
        return tf.function(
            functools.partial(run, kept=kept),
            reduce_retracing=True,
            autograph=False,
        )

    @tf.function(reduce_retracing=True, autograph=False)
    def score(batch):
        logits = strategy.run(score_step, args=(batch,))
        return {task: gathered(part) for task, part in logits.items()}

    return keeping, score
