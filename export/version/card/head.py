"""The head of a model card, in the form that Hugging Face reads."""

import math
import re
from typing import Any

from export.version.card.facts import Facts

_TASK = "tabular-classification"
# Key of a metric in reports to its type and name in the card.
METRICS = {
    "auc": ("roc_auc", "AUC"),
    "logloss": ("log_loss", "LogLoss"),
    "ne": ("normalized_entropy", "Normalized entropy"),
    "calibration": ("calibration", "Calibration"),
    "group_auc": ("group_auc", "AUC by group"),
}


def describe(
    manifest: dict[str, Any], facts: Facts, license_id: str | None
) -> dict[str, Any]:
    """Returns the head as dicts and lists.

    Undefined metrics are left out, and so are keys that nothing is known of.

    Args:
        manifest: content of the version's manifest.
        facts: facts of the run.
        license_id: identifier of the license, or None.
    """
    head: dict[str, Any] = {"library_name": "wukong_tf"}
    if license_id:
        head["license"] = license_id
    head["pipeline_tag"] = _TASK
    head["tags"] = ["recommendation", str(manifest["model"]["model"])]
    formats = manifest["formats"]
    if "saved_model" in formats:
        head["tags"].append("tensorflow")
    if {"onnx", "onnx_dense"} & {*formats}:
        head["tags"].append("onnx")
    if facts.data.name and facts.data.synthetic is None:
        head["datasets"] = [facts.data.name]
    if results := _results(manifest, facts):
        head["metrics"] = [
            kind
            for kind, _ in METRICS.values()
            if any(m["type"] == kind for r in results for m in r["metrics"])
        ]
        head["model-index"] = [
            {"name": manifest["model_name"], "results": results}
        ]
    return head


def data_name(facts: Facts, split: str) -> str:
    """Returns the name of the data: the data set's, else of the files."""
    if facts.data.name:
        return facts.data.name
    names = facts.data.files.get(split) or ["files without a name"]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return names[0] + more


def _results(manifest, facts):
    found = facts.results
    if found is None:
        return []
    name = data_name(facts, found.split)
    kind = "synthetic"
    if facts.data.synthetic is None:
        kind = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")
    data = {"type": kind or "files", "name": name, "split": found.split}
    reduced = {*manifest["precision"].values()} != {"float32"}
    of = " of the checkpoint in float32" if reduced else ""
    results = []
    for task, values in found.tasks.items():
        metrics = [
            {"type": kind, "name": f"{title}{of}", "value": values[key]}
            for key, (kind, title) in METRICS.items()
            if is_defined(values.get(key))
        ]
        if metrics:
            results.append(
                {
                    "task": {"type": _TASK, "name": task},
                    "dataset": data,
                    "metrics": metrics,
                }
            )
    return results


def is_defined(value: Any) -> bool:
    """Returns whether a metric is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
