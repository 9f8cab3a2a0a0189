"""Rungs of a ladder, and records of their runs."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from trainer.tuning.trial_run import evaluated
from wukong_tf.config import schema
from wukong_tf.errors import RunError

_METRICS = os.path.join("report", "metrics.json")
NAME = re.compile(r"(?!\.)[\w.+-]{1,100}")  # of a rung, and of its folder
A_NAME = "1 to 100 letters, digits and _ . + -, the first not a ."


@dataclasses.dataclass(frozen=True)
class Rung:
    """A model of one size.

    Args:
        model: name of the model.
        rung: name of the rung, such as "10m" for 10 MFLOP.
        sizes: flags of sizes.
        training_flop: FLOP of training per example, by `cost`.
        dense_parameters: parameters outside of tables.
        table_parameters: parameters in tables.
    """

    model: str
    rung: str
    sizes: dict[str, Any]
    training_flop: int
    dense_parameters: int
    table_parameters: int

    def __str__(self):
        return f"{self.model} {self.rung}"


@dataclasses.dataclass(frozen=True)
class Record(Rung):
    """A run of a rung.

    Args:
        seed: seed of the run.
        learning_rate: rate of the dense part, from the rung's search.
        rows: rows trained on.
        split: split of the metrics, "test", or "valid" if there is no test
            split.
        auc: AUC.
        logloss: LogLoss.
        attainable_logloss: that expected of the log's true probabilities on
            these rows, or None if the log does not know them.
        curve: pairs of rows trained on and LogLoss on valid rows.
        curve_attainable: attainable LogLoss on valid rows, or None.
        last_window_logloss: LogLoss of the last window of rows before they
            were trained on, or None.
        seconds: seconds of training.
        versions: versions by package.
        commit: commit of the program, or "" outside of a checkout.
    """

    seed: int
    learning_rate: float
    rows: int
    split: str
    auc: float | None
    logloss: float
    attainable_logloss: float | None
    curve: tuple[tuple[float, float], ...]
    curve_attainable: float | None
    last_window_logloss: float | None
    seconds: float
    versions: dict[str, str]
    commit: str

    @property
    def key(self) -> tuple[str, str, int]:
        """Model, rung and seed."""
        return self.model, self.rung, self.seed

    @property
    def excess(self) -> float | None:
        """LogLoss above the attainable one, or None if that is not known."""
        if self.attainable_logloss is None:
            return None
        return self.logloss - self.attainable_logloss

    def curve_loss(self, rows: float) -> float:
        """Returns the loss on valid rows after an evaluation's train rows.

        It is the excess over the attainable LogLoss if that is known.
        """
        return dict(self.curve)[rows] - (self.curve_attainable or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as JSON values, with the excess."""
        return {**dataclasses.asdict(self), "excess": self.excess}


def measured(run_dir: str, task: str, batch_size: int) -> dict[str, Any]:
    """Returns the measured fields of a record, from an ended run.

    Args:
        run_dir: the run directory.
        task: task whose metrics are taken.
        batch_size: rows of a training step.

    Raises:
        RunError: the run has no report, or its LogLoss is not finite.
    """
    path = os.path.join(run_dir, _METRICS)
    try:
        with open(path, encoding="utf-8") as file:
            report = schema.parse_json(file.read(), path)
        split = "test" if "test" in report else "valid"
        metrics, valid = report[split][task], report["valid"][task]
        run = report["run"]
        window = report.get("progressive", {}).get(task, {}).get("window", {})
        fields = {
            "rows": run["rows"],
            "seconds": run["seconds"],
            "split": split,
            "auc": metrics["auc"],
            "logloss": metrics["logloss"],
            "attainable_logloss": metrics.get("attainable_logloss"),
            "curve_attainable": valid.get("attainable_logloss"),
            "last_window_logloss": window.get("logloss"),
        }
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path}: is not the report of a run: {error}.") from (
            error
        )
    if fields["logloss"] is None or not math.isfinite(fields["logloss"]):
        raise RunError(f"{path}: the LogLoss is not finite.")
    curve = evaluated(run_dir, task, "logloss")
    return fields | {
        "curve": tuple(
            (min(step * batch_size, fields["rows"]), value)
            for step, value in curve.items()
            if math.isfinite(value)
        )
    }


def by_model(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Returns the records of each model by name, the cheapest rungs first."""
    models: dict[str, list[Record]] = {
        name: [] for name in sorted({r.model for r in records})
    }
    for record in sorted(
        records, key=lambda r: (r.training_flop, r.rung, r.seed)
    ):
        models[record.model].append(record)
    return models


def by_rung(records: Sequence[Record]) -> list[list[Record]]:
    """Returns the seeds of each rung of a model, the cheapest rung first."""
    rungs: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: (r.training_flop, r.seed)):
        rungs.setdefault(record.rung, []).append(record)
    return list(rungs.values())
