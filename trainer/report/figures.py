"""Computes the final metrics of a run."""

import os
from collections.abc import Iterable
from typing import Any

from trainer.data.source import Source
from trainer.loop.evaluator import Evaluator
from trainer.report import curves, reliability, slices
from trainer.report.curves import Predictions


def evaluate_splits(
    evaluator: Evaluator,
    splits: dict[str, Source],
    *,
    attainable: bool = True,
    by: tuple[str, ...] = (),
) -> tuple[dict[str, Any], dict[str, dict[str, Predictions]]]:
    """Returns exact metrics and predictions of the held-out splits.

    If a split's true probabilities are known, and `attainable` is True (the
    default), the metrics include their AUC and log loss, and the share of
    their gain in AUC over 0.5 that the model attained.

    If negatives count by a sampling rate other than 1, it is stated too.

    Args:
        evaluator: scores with the model.
        splits: the sources by split.
        attainable: see above.
        by: features by whose values the rows of the first split are sliced;
            the metrics of the slices are under "slices". Defaults to ().
    """
    results: dict[str, Any] = {}
    predictions: dict[str, dict[str, Predictions]] = {}
    for split in held_out_of(splits):
        source = splits[split]
        features = () if results else by
        metrics, scores = evaluator.evaluate(
            source, exact=True, features=features
        )
        for task, rate in evaluator.negative_rates.items():
            if rate != 1:
                metrics[task]["negative_rate"] = rate
        known = getattr(source, "attainable", None)
        if known is not None and attainable:
            _add_attainable(metrics, known())
        results[split] = metrics
        predictions[split] = {
            task: Predictions(rows.labels, rows.logits, rows.weights)
            for task, rows in scores.items()
        }
        if features and scores:
            sliced = slices.by_value(source.spec, features, scores)
            results["slices"] = {"split": split, **sliced}
    return results, predictions


def held_out_of(splits: Iterable[str]) -> list[str]:
    """Returns the held-out splits among these, "test" first."""
    return [split for split in ("test", "valid") if split in splits]


def _add_attainable(metrics, known):
    for task, best in known.items():
        values = metrics[task]
        values["attainable_auc"] = best["auc"]
        values["attainable_logloss"] = best["logloss"]
        values["attained_share"] = (values["auc"] - 0.5) / (best["auc"] - 0.5)


def curves_of(
    predictions: dict[str, dict[str, Predictions]],
) -> dict[str, dict[str, Any]]:
    """Returns ROC, gain, lift and reliability by split and task, for JSON."""
    return {
        split: {
            task: {
                "roc": curves.roc_table(rows),
                "gain": curves.gain_table(rows),
                "reliability": bins.to_list() if bins else [],
            }
            for task, rows in tasks.items()
            for bins, _ in [reliability.bins_of(rows)]
        }
        for split, tasks in predictions.items()
    }


def names_of(paths: Iterable[str]) -> dict[str, str]:
    """Returns a name for each run directory, its last part if that is unique.

    Args:
        paths: run directories.
    """
    paths = list(dict.fromkeys(map(os.path.normpath, paths)))
    last = [os.path.basename(os.path.abspath(path)) for path in paths]
    return {
        path: name if last.count(name) == 1 else path
        for path, name in zip(paths, last, strict=True)
    }
