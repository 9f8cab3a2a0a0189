"""Holds what was written to the scores of the checkpoint."""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from export import requests
from export.signatures import output_names
from trainer.data import columns
from trainer.data.bad_values import Count
from trainer.data.checks import check_type, checks_of
from wukong_tf import runs
from wukong_tf.config import FeatureSpec
from wukong_tf.errors import DataError, ExportError
from wukong_tf.features import encode, of_requests

TOLERANCE = 1e-4  # largest difference of a logit or probability in float32

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A written file, loaded back.

    Args:
        name: of its format.
        score: from raw columns to its outputs.
        refusal: the exception by which it refuses a request.
        takes_ids: whether it takes ids where requests hold raw values.
            Defaults to False.
    """

    name: str
    score: Callable[[Columns], Columns]
    refusal: type[Exception]
    takes_ids: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """How far the artifacts are from the checkpoint.

    Args:
        rows: held-out rows that were compared, all in one batch.
        single_rows: of them, rows that were also compared alone.
        raw: features whose raw values went all ways.
        replaced: features whose out-of-range ids were compared with their
            `oov_id`.
        refused: features whose out-of-range ids must be an error.
        logit: largest absolute difference of a logit, by format.
        probability: the same of a probability.
        faults: what else is wrong, in words.
    """

    rows: int
    single_rows: int
    raw: tuple[str, ...]
    replaced: tuple[str, ...]
    refused: tuple[str, ...]
    logit: dict[str, float]
    probability: dict[str, float]
    faults: tuple[str, ...]

    def describe(self) -> str:
        """The figures as text for people."""
        lines = [
            f"parity on {self.rows} held-out rows, largest difference from "
            f"the checkpoint in float32 (at most {TOLERANCE:.0e}):"
        ]
        lines += [
            f"  {name:<12} logit {self.logit[name]:.1e}, probability "
            f"{self.probability[name]:.1e}"
            for name in self.logit
        ]
        return "\n".join(lines)

    def check(self):
        """Refuses what is too far from the checkpoint.

        Raises:
            ExportError: with the figures.
        """
        figures = [*self.logit.values(), *self.probability.values()]
        # Written so that NaN fails.
        close = all(figure <= TOLERANCE for figure in figures)
        if not close or self.faults:
            faults = "".join(f"\n  {fault}" for fault in self.faults)
            raise ExportError(
                "nothing is published, as what was written does not give "
                f"the checkpoint's scores.\n{self.describe()}{faults}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "tolerance": TOLERANCE,
            "rows": self.rows,
            "single_rows": self.single_rows,
            "raw_values": list(self.raw),
            "out_of_range_ids": {
                "read_as_oov_id": list(self.replaced),
                "refused": list(self.refused),
            },
            "max_abs_logit_difference": self.logit,
            "max_abs_probability_difference": self.probability,
        }


def read_samples(run_dir: str, spec: FeatureSpec) -> pa.Table:
    """The run's held-out rows, as requests hold them.

    Raises:
        ExportError: the rows are missing or cannot be used.
    """
    path = os.path.join(run_dir, runs.SAMPLES)
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ExportError(
            f"{path}: the held-out rows that parity needs cannot be read: "
            f"{error}."
        ) from error
    if not table.num_rows:
        raise ExportError(f"{path}: parity needs at least one row.")
    spec = of_requests(spec)
    checks = checks_of(spec, labels=False)
    found = Count()
    try:
        for check in checks:
            check_type(path, table.schema, check)
        columns.read_table(path, 0, table, spec, checks, found)
    except DataError as error:
        raise ExportError(str(error)) from error
    numbers = [feature.name for feature in spec.numeric]  # may be missing
    for name, text in found.first.items():
        if name not in numbers:
            raise ExportError(f"column {name!r} of {text}.")
    return table.select(list(spec.feature_names))


def compare(served, samples: pa.Table, artifacts: list[Artifact]) -> Report:
    """Compares `artifacts` with the Keras model, which runs eagerly.

    The rows go three ways: as the trainer reads them to the model; as a
    request to what takes raw values; and through the client's encoder to
    what takes ids.

    Args:
        served: the ServedModel that they were written from.
        samples: rows as requests hold them, with ids in range.
        artifacts: what was written, loaded back.
    """
    spec = served.spec
    cases = list(requests.cases(spec, samples))
    ways = requests.Ways(spec)
    expected = [_reference(served, ways.trainer(case.read)) for case in cases]
    faults: list[str] = []
    logit, probability = {}, {}
    for artifact in artifacts:
        worst = {"logit": 0.0, "probability": 0.0}
        way = ways.ids if artifact.takes_ids else ways.raw
        for case, want in zip(cases, expected, strict=True):
            try:
                got = artifact.score(way(case.sent))
            except artifact.refusal as error:
                faults.append(f"{artifact.name} refuses a request: {error}")
                worst = dict.fromkeys(worst, math.inf)
                break
            for name, value in want.items():
                kind = "logit" if name.endswith("logit") else "probability"
                gap = _difference(got[name], value)
                worst[kind] = float(np.maximum(worst[kind], gap))
        logit[artifact.name] = worst["logit"]
        probability[artifact.name] = worst["probability"]
        faults += _unrefused(spec, samples, artifact, way)
    return Report(
        samples.num_rows,
        min(samples.num_rows, requests.SINGLE_ROWS),
        tuple(f.name for f in spec.categorical if f.raw),
        tuple(f.name for f in spec.categorical if f.oov_id is not None),
        tuple(f.name for f in _refusing(spec)),
        logit,
        probability,
        tuple(faults),
    )


def _difference(got, want):
    if got.shape != want.shape:
        return math.inf
    return np.max(np.abs(got.astype(np.float64) - want))


def _reference(served, columns):
    """The checkpoint's scores of rows as the trainer reads them."""
    inputs = encode(served.spec, columns)
    logits = served.model(inputs, training=False)  # {task: [B, 1]}
    logits = served.model.served_logits(logits)
    scores = {}
    for task, (probability, logit) in output_names(served.spec).items():
        value = np.asarray(logits[task], np.float64)[:, 0]
        scores[logit] = value
        scores[probability] = 0.5 * (1 + np.tanh(value / 2))
    return scores


def _refusing(spec):
    """The features whose ids out of range must be an error."""
    return [f for f in spec.categorical if not f.raw and f.oov_id is None]


def _unrefused(spec, samples, artifact, way):
    """In words, the ids out of range that `artifact` answers."""
    rows = way(samples.slice(0, 2))
    for feature in _refusing(spec):
        for value in requests.out_of_range(feature):
            ids = rows[feature.name].copy()
            ids[-1] = value
            try:
                artifact.score({**rows, feature.name: ids})
            except artifact.refusal:
                continue
            yield (
                f"{artifact.name} answers a request whose {feature.name!r} is "
                f"{value}; ids must be in [0, {feature.num_ids})."
            )
