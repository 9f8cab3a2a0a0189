"""Quality of smaller tables and products, measured on held-out rows."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from export.served import naming
from export.served.signatures import ServedModel
from trainer.data.source import Source
from wukong_tf.errors import ExportError
from wukong_tf.features import encode
from wukong_tf.metrics import (
    exact_auc,
    of_scalars,
    sampled_weights,
    scalar_sums,
)

BATCH = 4096
CALIBRATION_BATCHES = 8  # of 512 rows

Columns = dict[str, np.ndarray]
# Maps columns of ids to {task: logits [B]} of the whole log.
Scorer = Callable[[Columns], Columns]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Largest changes with which a version is published.

    Args:
        auc: largest absolute change of a task's AUC.
        ne: largest absolute change of a task's normalized entropy.
        logit: largest absolute change of any row's logit.
    """

    auc: float
    ne: float
    logit: float


@dataclasses.dataclass(frozen=True)
class Report:
    """Changes of each smaller form from float32.

    Args:
        rows: number of scored rows.
        limits: limits of the changes.
        changes: form to task to "auc", "ne" and "logit", each with the
            value in float32, as published, and the change.
    """

    rows: int
    limits: Limits
    changes: dict[str, dict[str, dict[str, float]]]

    def describe(self) -> str:
        """Returns the figures as human-readable text."""
        lines = [
            f"reduced precision on {self.rows:,} held-out rows, compared with "
            "the checkpoint in float32:"
        ]
        for form, tasks in self.changes.items():
            lines += [
                f"  {form:<12} {task}: AUC {figures['auc']:.6f} "
                f"({figures['auc_change']:+.6f}), NE {figures['ne']:.6f} "
                f"({figures['ne_change']:+.6f}), largest change of a logit "
                f"{figures['logit_change']:.4f}"
                for task, figures in tasks.items()
            ]
        return "\n".join(lines)

    def check(self):
        """Raises ExportError, with the figures, if a limit is exceeded."""
        over = [
            f"{form}, {task}: the change of {name} is {figures[key]:.6f}; "
            f"--{flag} allows {limit:g}."
            for form, tasks in self.changes.items()
            for task, figures in tasks.items()
            for name, key, flag, limit in (
                ("AUC", "auc_change", "max_auc_change", self.limits.auc),
                ("NE", "ne_change", "max_ne_change", self.limits.ne),
                (
                    "a logit",
                    "logit_change",
                    "max_logit_change",
                    self.limits.logit,
                ),
            )
            # Written so that NaN fails.
            if not abs(figures[key]) <= limit
        ]
        if over:
            raise ExportError(
                "nothing is published, as reduced precision changes the scores "
                "too much.\n"
                f"{self.describe()}\n" + "\n".join(over)
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures for the manifest."""
        return dataclasses.asdict(self)


def measure(
    served: ServedModel,
    forms: Mapping[str, Scorer],
    source: Source,
    limits: Limits,
) -> Report:
    """Scores all rows of `source` in float32 and in each form.

    Args:
        served: the model.
        forms: name to the function that scores with the form as served.
        source: held-out rows with labels.
        limits: limits of the changes.

    Raises:
        ExportError: if a task has no labels, or only one class.
    """
    spec = served.spec
    scorers = {"float32": scorer_from_model(served, stored=False), **forms}
    names = [*(task.label for task in spec.tasks), spec.weight]
    targets: dict[str, list] = {name: [] for name in names if name}
    logits: dict[str, dict[str, list]] = {
        form: {task.name: [] for task in spec.tasks} for form in scorers
    }
    for batch in source.batches(BATCH):
        for name, parts in targets.items():
            parts.append(batch[name])
        columns = _id_columns(served, batch)
        for form, score in scorers.items():
            for name, value in score(columns).items():
                logits[form][name].append(value)
    joined = {name: np.concatenate(parts) for name, parts in targets.items()}
    weights = joined.get(spec.weight or "")
    changes: dict[str, dict[str, dict[str, float]]] = {}
    rows = 0
    for task in spec.tasks:
        labels = joined[task.label]
        rows = max(rows, len(labels))
        full = np.concatenate(logits["float32"][task.name])
        before = metrics(task, labels, full, weights)
        if not math.isfinite(before["auc"]):
            raise ExportError(
                f"--eval_data: the AUC of task {task.name!r} needs rows of "
                f"both classes; received {len(labels)} rows."
            )
        for form in forms:
            small = np.concatenate(logits[form][task.name])
            after = metrics(task, labels, small, weights)
            gap = np.max(np.abs(small.astype(np.float64) - full))
            changes.setdefault(form, {})[task.name] = {
                "auc_float32": before["auc"],
                "auc": after["auc"],
                "auc_change": after["auc"] - before["auc"],
                "ne_float32": before["ne"],
                "ne": after["ne"],
                "ne_change": after["ne"] - before["ne"],
                "logit_change": float(gap),
            }
    return Report(rows, limits, changes)


def calibration(served: ServedModel, source: Source) -> tuple[Columns, ...]:
    """Returns batches of held-out ids to calibrate ranges with."""
    batches = itertools.islice(source.batches(512), CALIBRATION_BATCHES)
    return tuple(_id_columns(served, batch) for batch in batches)


def scorer_from_model(served: ServedModel, *, stored: bool) -> Scorer:
    """Returns a scorer that runs the model.

    Args:
        served: the model.
        stored: whether to read the tables in their written form, rather than
            the checkpoint's.
    """

    @tf.function(reduce_retracing=True, autograph=False)
    def run(columns):
        inputs = encode(served.spec, columns)
        if stored:
            with served.stored_tables():
                logits = served.model(inputs, training=False)
        else:
            logits = served.model(inputs, training=False)
        logits = served.model.served_logits(logits)
        return {task: value[:, 0] for task, value in logits.items()}

    def score(columns):
        tensors = {name: tf.constant(value) for name, value in columns.items()}
        return {task: value.numpy() for task, value in run(tensors).items()}

    return score


def scorer_from_artifact(served: ServedModel, artifact) -> Scorer:
    """Returns a scorer that runs an artifact that takes ids or table rows."""
    outputs = naming.output_names(served.spec)

    def score(columns):
        if artifact.takes == "rows":
            columns = served.rows_from_ids(columns)
        scores = artifact.score(columns)
        return {task: scores[logit] for task, (_, logit) in outputs.items()}

    return score


def metrics(task, labels, logits, weights=None) -> dict[str, float]:
    """Returns a task's AUC and normalized entropy as the trainer reports them.

    Args:
        task: the Task; its `negative_rate` weights negative rows.
        labels: [N], 0 or 1, NaN if a row has none.
        logits: [N], of the whole log.
        weights: [N]. Defaults to None, all 1.
    """
    known = np.isfinite(labels)
    labels = labels[known].astype(np.float64)
    logits = logits[known].astype(np.float64)
    weights = None if weights is None else weights[known]
    weights = sampled_weights(labels, weights, task.negative_rate)
    sums = scalar_sums(labels, logits, weights)
    return {
        "auc": exact_auc(labels, logits, weights),
        "ne": of_scalars({n: v.numpy() for n, v in sums.items()})["ne"],
    }


def _id_columns(served, batch):
    """Returns a batch in the form of a request of ids."""
    return {
        name: np.asarray(batch[name], spec.dtype.as_numpy_dtype)
        for name, spec in served.id_inputs.items()
    }
