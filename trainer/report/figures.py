"""Computes the final metrics of a run."""

import os
from typing import Any

from trainer.data.source import Source
from trainer.loop.evaluator import Evaluator, Scores
from trainer.report.files import Predictions
from wukong_tf.config import schema
from wukong_tf.errors import RunError


def evaluate_splits(
    evaluator: Evaluator, splits: dict[str, Source], *, attainable: bool = True
) -> tuple[dict[str, Any], dict[str, dict[str, Predictions]]]:
    """Returns exact metrics and predictions of the held-out splits.

    If a split's true probabilities are known, and `attainable` is True (the
    default), the metrics include their AUC and log loss, and the share of
    their gain in AUC over 0.5 that the model attained.
    """
    results: dict[str, Any] = {}
    predictions: dict[str, dict[str, Predictions]] = {}
    for split in ("test", "valid"):
        if split not in splits:
            continue
        source = splits[split]
        metrics, scores = evaluator.evaluate(source, exact=True)
        known = getattr(source, "attainable", None)
        if known is not None and attainable:
            for task, best in known().items():
                values = metrics[task]
                values["attainable_auc"] = best["auc"]
                values["attainable_logloss"] = best["logloss"]
                values["attained_share"] = (values["auc"] - 0.5) / (
                    best["auc"] - 0.5
                )
        results[split] = metrics
        predictions[split] = {
            task: _predictions(rows) for task, rows in scores.items()
        }
    return results, predictions


def _predictions(rows: Scores) -> Predictions:
    return Predictions(rows.labels, rows.logits, rows.weights)


def compared_metrics(run_dir: str) -> dict[str, Any]:
    """Returns the metrics of another run's report."""
    path = os.path.join(run_dir, "report", "metrics.json")
    try:
        with open(path, encoding="utf-8") as file:
            content = schema.parse_json(file.read(), path)
    except OSError as error:
        raise RunError(
            f"--compare_runs={run_dir} has no report: {error}."
        ) from error
    return {
        key: content[key]
        for key in ("test", "valid", "run", "model", "progressive")
        if key in content
    }
