"""Permutation importance: what the loss gains if a feature is shuffled."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from trainer.data.source import (
    ALL,
    Part,
    Source,
    concatenated,
    generator,
    part_of,
    sliced,
    spread,
)
from trainer.loop.evaluator import Evaluator
from wukong_tf.config import FeatureSpec
from wukong_tf.metrics import sampled_weights
from wukong_tf.rows import Batch

REPEATS = 3
MOST_ROWS, FEWEST_ROWS = 8192, 512  # if --importance_rows is not given


def rows_by_default(spec: FeatureSpec, trained_rows: int) -> int:
    """Returns the rows to measure on, unless --importance_rows says it.

    At most a quarter of `trained_rows` is scored again, which takes less than
    a tenth of the time of training, unless that were fewer than 512 rows.
    """
    rows = trained_rows // (4 * REPEATS * max(1, len(inputs_of(spec))))
    return min(MOST_ROWS, max(FEWEST_ROWS, rows))


def inputs_of(spec: FeatureSpec) -> dict[str, tuple[str, ...]]:
    """Returns the inputs of the model that are permuted together, by feature.

    A bag goes with its weights; bags that share a column of weights are one
    entry, named by all of them.
    """
    bags: dict[str, list[str]] = {}
    for bag in spec.categorical:
        if bag.weights:
            bags.setdefault(bag.weights, []).append(bag.name)
    inputs: dict[str, tuple[str, ...]] = {}
    for feature in spec.all_features:
        weights = getattr(feature, "weights", None)
        names = bags[weights] if weights else [feature.name]
        together = (*names, weights) if weights else (feature.name,)
        inputs[", ".join(names)] = together
    return inputs


class Permuted:
    """Copies of some rows as a source, each with one feature permuted.

    Copy 0 is unchanged. Then follow `repeats` copies of each feature.

    Args:
        spec: the spec of the rows.
        rows: the inputs of the model, from a source.
        repeats: number of permutations of each feature.
    """

    lanes = 1

    def __init__(self, spec: FeatureSpec, rows: Batch, repeats: int):
        self.spec = spec
        self._rows = {name: rows[name] for name in spec.feature_names}
        self.size = len(next(iter(self._rows.values())))
        self._inputs = list(inputs_of(spec).values())
        self._repeats = repeats
        self.num_rows = self.size * (1 + len(self._inputs) * repeats)

    def batches(
        self,
        batch_size: int,
        *,
        epoch: int = 0,
        first_step: int = 0,
        part: Part = ALL,
    ) -> Iterator[Batch]:
        """Yields a part of each batch; see `Source.batches`."""
        del epoch
        for step in range(first_step, -(-self.num_rows // batch_size)):
            start = step * batch_size
            count = min(batch_size, self.num_rows - start)
            first, past = part_of(count, part)
            yield self._between(start + first, start + past)

    def _between(self, start, stop):
        """Returns the rows from `start` to `stop`, over all copies."""
        parts = []
        for copy in range(start // self.size, -(-stop // self.size)):
            begin = copy * self.size
            parts.append(
                sliced(
                    self._copy(copy),
                    max(start - begin, 0),
                    min(stop - begin, self.size),
                )
            )
        return concatenated(parts or [sliced(self._rows, 0, 0)])

    def _copy(self, copy):
        if copy == 0:
            return self._rows
        place, repeat = divmod(copy - 1, self._repeats)
        order = generator(place, repeat).permutation(self.size)
        permuted = {n: self._rows[n][order] for n in self._inputs[place]}
        return self._rows | permuted


def measure(
    evaluator: Evaluator, source: Source, rows: int, repeats: int = REPEATS
) -> dict[str, Any]:
    """Returns the permutation importance of each feature (Breiman, 2001).

    All workers must call it together; each gets the same result.

    Args:
        evaluator: scores with the model.
        source: held-out rows.
        rows: number of rows, 1 or more, evenly spread over the source.
        repeats: permutations of each feature. Defaults to 3.

    Returns:
        "rows" and "repeats", and under "tasks" for each task a list of
        "feature", "mean", the increase of the task's LogLoss when the
        feature's values are permuted among the rows, and "error", the
        standard error of that mean over the rows; the largest mean first.

    Raises:
        Interrupted: the run was asked to stop.
    """
    sample = spread(source, rows)
    spec = source.spec
    copies = _logits_of_copies(
        evaluator, permuted := Permuted(spec, sample, repeats)
    )
    base = next(copies)
    increases = {
        feature: _mean(
            [_losses(spec, sample, next(copies)) for _ in range(repeats)]
        )
        for feature in inputs_of(spec)
    }
    before = _losses(spec, sample, base)
    tasks = {}
    for task in spec.tasks:
        labels = sample[task.label]
        known = np.isfinite(labels)
        weights = sampled_weights(
            labels.astype(np.float64),
            sample[spec.weight] if spec.weight else np.ones(len(labels)),
            evaluator.negative_rates[task.name],
        )[known]
        found = [
            {
                "feature": feature,
                **_weighted_mean(
                    (after[task.name] - before[task.name])[known], weights
                ),
            }
            for feature, after in increases.items()
        ]
        tasks[task.name] = sorted(found, key=lambda each: -each["mean"])
    return {"rows": permuted.size, "repeats": repeats, "tasks": tasks}


def _logits_of_copies(evaluator, permuted) -> Iterator[dict[str, np.ndarray]]:
    """Yields the logits of each copy by task; scores as they are asked for."""
    kept: dict[str, np.ndarray] = {}
    for logits in evaluator.score(permuted):
        for task, value in logits.items():
            before = kept.get(task, np.zeros(0, value.dtype))
            kept[task] = np.concatenate([before, value])
        size = permuted.size
        while len(next(iter(kept.values()))) >= size:
            yield {task: value[:size] for task, value in kept.items()}
            kept = {task: value[size:] for task, value in kept.items()}


def _losses(spec, sample, logits):
    """Returns the cross-entropy of each row by task, NaN without a label."""
    losses = {}
    for task in spec.tasks:
        scores = logits[task.name].astype(np.float64)
        losses[task.name] = np.logaddexp(0.0, scores) - (
            sample[task.label] * scores
        )
    return losses


def _mean(losses):
    return {
        task: np.mean([each[task] for each in losses], axis=0)
        for task in losses[0]
    }


def _weighted_mean(values, weights):
    """Returns the weighted mean and its standard error."""
    total = weights.sum()
    if not total > 0:
        return {"mean": float("nan"), "error": float("nan")}
    mean = values @ weights / total
    error = np.sqrt(np.sum((weights * (values - mean)) ** 2)) / total
    return {"mean": float(mean), "error": float(error)}
