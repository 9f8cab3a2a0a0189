"""Reads the metrics of other runs; needs no TensorFlow."""

import os
from typing import Any

from wukong_tf.config import schema
from wukong_tf.errors import ConfigError, RunError


def compared_metrics(run_dir: str) -> dict[str, Any]:
    """Returns the metrics of another run's report."""
    path = os.path.join(run_dir, "report", "metrics.json")
    try:
        content = dict(schema.read_json(path))
        training = dict(content.get("training") or {})
    except (ConfigError, TypeError, ValueError) as error:
        raise RunError(
            f"--compare_runs={run_dir} has no report: {error}"
        ) from error
    compared = {
        key: content[key]
        for key in ("test", "valid", "run", "model", "progressive")
        if key in content
    }
    if "seed" in training:
        compared["seed"] = training["seed"]
    return compared
